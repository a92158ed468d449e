"""Weights under other names, matched with a network's by order and shape.

Importing this does not import PyTorch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from tenfold.errors import counted, listing, printable

Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor by its name, in the order of the network or file."""

_KNOWN = ("weight", "bias", "running_mean", "running_var")
"""What PyTorch calls the tensors of its layers: one is never another."""

COUNT = ".num_batches_tracked"
"""Of batch normalization; older weights lack it, and nothing depends on it here."""


class NotMatchedError(Exception):
    """Weights that cannot be matched, or in several ways; the message says why."""


def other_names(
    wanted: Shapes, found: Shapes, *, last: Collection[str], keeps_order: bool
) -> dict[str, str]:
    """The network's name of each tensor by its name in the file, if it has other names.

    Empty if the file has the network's names, or some of them: then those that differ can be named.
    For the arguments, see `matched`.

    Raises:
        NotMatchedError: all names are others, and they cannot be matched by order and shape.
    """
    needed = {name for name in wanted if name not in last and not name.endswith(COUNT)}
    if needed <= found.keys() <= wanted.keys():
        return {}
    try:
        return matched(wanted, found, last=last, keeps_order=keeps_order)
    except NotMatchedError:
        if found.keys() & needed:
            return {}
        raise


def matched(
    wanted: Shapes, found: Shapes, *, last: Collection[str], keeps_order: bool
) -> dict[str, str]:
    """The network's name of each tensor, by its name in the file.

    The n-th tensor is taken for the n-th of the network if all of them have its shapes; or each for
    the only one of its shape. Single numbers, which count batches, are matched in order, and may be
    missing.

    Args:
        wanted: of the network.
        found: in the file.
        last: the network's tensors of its last layer, which may have another number of rows, and
            may be missing.
        keeps_order: whether the tensors of the file are in the order of its network.

    Raises:
        NotMatchedError: there is no such match.
    """
    own, counts = _without_counts(wanted)
    others, other_counts = _without_counts(found)
    if len(others) == len(own) - len(last):
        own = {name: shape for name, shape in own.items() if name not in last}
    if len(others) != len(own):
        raise NotMatchedError(
            f"the file has {counted(len(others), 'tensor')}, the network {len(own):,}"
        )
    if other_counts and len(other_counts) != len(counts):
        raise NotMatchedError(
            f"the file has {counted(len(other_counts), 'single number')}, the network "
            f"{len(counts):,}"
        )
    try:
        pairs = _in_order(own, others, last) if keeps_order else _by_shape(own, others, last)
    except NotMatchedError:
        if not (keeps_order and sorted(own.values()) == sorted(others.values())):
            raise
        pairs = _by_shape(own, others, last)
    return pairs | dict(zip(other_counts, counts, strict=False))


def _without_counts(shapes: Shapes) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """The tensors, and the names of single numbers."""
    tensors = {name: shape for name, shape in shapes.items() if shape}
    return tensors, [name for name in shapes if name not in tensors]


def _in_order(own: Shapes, others: Shapes, last: Collection[str]) -> dict[str, str]:
    for name, other in zip(own, others, strict=True):
        if not _fits(name, own[name], others[other], last):
            raise NotMatchedError(
                f"in order, {_named(other, others)} of the file meets {_named(name, own)} of the "
                "network"
            )
    return _plausible(dict(zip(others, own, strict=True)), own)


def _by_shape(own: Shapes, others: Shapes, last: Collection[str]) -> dict[str, str]:
    """Each tensor matched with the only one of its shape."""
    pairs: dict[str, str] = {}
    for name, shape in own.items():
        fitting = [other for other in others if _fits(name, shape, others[other], ())]
        if not fitting and name in last:
            fitting = [
                other
                for other in others
                if _fits(name, shape, others[other], last) and others[other] not in own.values()
            ]
        if not fitting:
            raise NotMatchedError(f"the file has no tensor for {_named(name, own)} of the network")
        pairs[fitting[0]] = name
    _require_different_shapes(own)
    return _plausible(pairs, own)


def _require_different_shapes(own: Shapes) -> None:
    by_shape = defaultdict[tuple[int, ...], list[str]](list)
    for name, shape in own.items():
        by_shape[shape].append(name)
    for shape, names in by_shape.items():
        if len(names) > 1:
            raise NotMatchedError(
                f"the tensors are not in the network's order, and shapes do not tell them apart: "
                f"{listing(names, 3)} are all {list(shape)}"
            )


def _fits(name: str, shape: tuple[int, ...], other: tuple[int, ...], last: Collection[str]) -> bool:
    return shape == other or (name in last and len(shape) == len(other))


def _plausible(pairs: dict[str, str], own: Shapes) -> dict[str, str]:
    """The pairs, if no name speaks against one.

    Raises:
        NotMatchedError: a tensor is matched with another one although one has its name, or a weight
            with what is known not to be one.
    """
    for other, name in pairs.items():
        kinds = {_kind(other), _kind(name)} - {""}
        if (other in own and other != name) or len(kinds) > 1:
            raise NotMatchedError(
                f"by order and shape, {printable(other, 40)} of the file would be {name} of the "
                "network, but their names say otherwise"
            )
    return pairs


def _kind(name: str) -> str:
    end = name.rpartition(".")[2]
    return end if end in _KNOWN else ""


def _named(name: str, shapes: Shapes) -> str:
    return f"{printable(name, 40)} {list(shapes[name])}"
