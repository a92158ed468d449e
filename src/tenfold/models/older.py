"""Weight names and layers of older versions of tenfold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tenfold.models.layers import IMAGES, Dropout, Layer

_PERCEPTRONS = {
    "mlp": ("layers", None),
    "lenet": ("classifier", None),
    "cifar-cnn": ("classifier", None),
    "convpool": ("classifier", 1),
}
"""For each model: its sequence of linear layers, and its number of dropout layers; None for one
after each hidden layer."""


def renamed_weights(
    model: object, arguments: object, names: Iterable[str], *, prefix: str = ""
) -> dict[str, str]:
    """A map from old to new names of a model's weights.

    In bundles and `save_checkpoint`'s files of version 1, and in checkpoints up to version 2, the
    sequence of linear layers had its dropout layers even with probability 0. Without them,
    `layers.4.weight` becomes `layers.3.weight`. Unchanged names are left out.

    Args:
        model: the model's name.
        arguments: the model's arguments.
        names: of some or all of its weights.
        prefix: the prefix of all names.
    """
    sequence, most = _PERCEPTRONS.get(str(model), ("", 0))
    if not sequence or not isinstance(arguments, Mapping) or arguments.get("dropout") != 0:
        return {}
    pattern = re.compile(rf"({re.escape(prefix)}{sequence}\.)(\d{{1,9}})(\.(?:weight|bias))")
    renamed = {}
    for name in names:
        if match := pattern.fullmatch(name):
            place = int(match[2])
            dropouts = place // 3 if most is None else min(place // 3, most)
            renamed[name] = f"{match[1]}{place - dropouts}{match[3]}"
    return {old: new for old, new in renamed.items() if old != new}


def without_idle_dropout(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """A list of layers without its dropout layers with probability 0."""
    kept: list[Layer] = []
    place_now = {IMAGES: IMAGES}
    for place, layer in enumerate(layers):
        if isinstance(layer, Dropout) and layer.p == 0:
            place_now[place] = place_now[layer.input]
            continue
        place_now[place] = len(kept)
        places = {
            name: place_now[at] for name, at in layer.model_dump(include={"input", "other"}).items()
        }
        kept.append(layer.model_copy(update=places))
    return tuple(kept)
