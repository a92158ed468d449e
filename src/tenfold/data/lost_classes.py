"""Classes that have no images left after some were left out."""

from __future__ import annotations

from collections.abc import Mapping, Set

import numpy as np

from tenfold.errors import quoted
from tenfold.listening import Listener
from tenfold.types import LabeledArrays


def without_lost_classes(
    splits: Mapping[str, LabeledArrays], had: Set[str], listener: Listener
) -> dict[str, LabeledArrays]:
    """The splits without those classes that have no images left.

    Args:
        splits: after images were left out.
        had: the classes that some of those images were of.
        listener: gets a note on the classes.
    """
    classes = next(iter(splits.values())).classes
    left = {label for part in splits.values() for label in part.labels.tolist()}
    lost = [name for label, name in enumerate(classes) if label not in left and name in had]
    if not lost:
        return dict(splits)
    listener.note(f"no image of {quoted(lost)} is left, so the class was left out")
    kept = [label for label, name in enumerate(classes) if name not in lost]
    new_label = {label: place for place, label in enumerate(kept)}
    return {
        split: part._replace(
            labels=np.array([new_label[label] for label in part.labels.tolist()], np.int64),
            classes=tuple(classes[label] for label in kept),
        )
        for split, part in splits.items()
    }
