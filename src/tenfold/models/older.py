"""Names that weights had in older versions of tenfold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_PERCEPTRONS = {
    "mlp": ("layers", None),
    "lenet": ("classifier", None),
    "cifar-cnn": ("classifier", None),
    "convpool": ("classifier", 1),
}
"""By model: its sequence of linear layers, and how many dropout layers that had; None for one after
each hidden layer."""


def renamed_weights(
    model: object, arguments: object, names: Iterable[str], *, prefix: str = ""
) -> dict[str, str]:
    """New names by old ones, for a model's weights in a bundle of version 1.

    Its sequence of linear layers, ReLU and dropout then had the dropout layers even where their
    probability was 0. Without them `layers.4.weight` is `layers.3.weight`. Names that have not
    changed are left out.

    Args:
        model: its name.
        arguments: the model's own.
        names: of its weights, all of them or some.
        prefix: what all names begin with.
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
