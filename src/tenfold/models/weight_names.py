"""What programs put before the names of all weights.

Importing this does not import PyTorch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "backbone.")
"""Of `DataParallel`, `torch.compile`, Lightning and others."""

_MOST_PREFIXES = 3


def without_prefixes(names: Iterable[str]) -> dict[str, str]:
    """Each name without what other programs put before all of them, such as `module.`."""
    bare = {name: name for name in names}
    for _ in range(_MOST_PREFIXES):
        shared = [p for p in _PREFIXES if all(name.startswith(p) for name in bare.values())]
        if not shared:
            break
        bare = {name: short.removeprefix(shared[0]) for name, short in bare.items()}
    return bare


def with_own_prefixes(found: Collection[str], wanted: Collection[str]) -> dict[str, str]:
    """The name of each tensor of a file, with the network's prefixes instead of the file's.

    As it is if that is no name of the network's.

    Args:
        found: names in the file.
        wanted: names in the network.
    """
    if {*found} & {*wanted}:
        return {name: name for name in found}
    own = {bare: name for name, bare in without_prefixes(wanted).items()}
    return {name: own.get(bare, name) for name, bare in without_prefixes(found).items()}
