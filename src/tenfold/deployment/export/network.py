"""The code of a network, written from its list of layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from tenfold.deployment.export.blocks import BlockClass, kind_of
from tenfold.deployment.export.modules import INSIDE, ModuleCode, statements, tensor_names
from tenfold.deployment.export.structure import Block, Step, steps_of
from tenfold.deployment.export.text import call
from tenfold.models.layers import Layer, Linear


@dataclass(frozen=True)
class NetworkCode:
    """The code of a network.

    Attributes:
        classes: those of its blocks, and last its own, `Net`.
        names: the names of its tensors in the bundle, by those in its `state_dict()`, in order.
    """

    classes: tuple[str, ...]
    names: dict[str, str]

    @property
    def has_functions(self) -> bool:
        """Whether it calls functions of `torch.nn.functional`."""
        return any("F." in code for code in self.classes)


def network_code(layers: Sequence[Layer], title: str) -> NetworkCode:
    """The code of a network; its weights are called as in torchvision where that has such networks.

    Args:
        layers: a valid `Network`.
        title: the docstring of its class.

    Raises:
        UsageError: it branches in another way than by residual blocks.
    """
    return _Writer(steps_of(layers)).written(title)


class _Writer:
    """Writes the class of a network, step by step."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._module = ModuleCode(sum(isinstance(step, Linear) for step in steps))
        self._names: dict[str, str] = {}
        self._groups = 0
        self._classes = _block_classes([step for step in steps if isinstance(step, Block)])

    def written(self, title: str) -> NetworkCode:
        for width, steps in groupby(self._steps, _width_of_block):
            if width is None:
                self._add_layers([step for step in steps if not isinstance(step, Block)])
            else:
                self._add_blocks([step for step in steps if isinstance(step, Block)])
        *most, last = statements(self._module.calls, "x", "x")
        body = [
            *self._module.declarations,
            "",
            "    def forward(self, x):",
            *most,
            last.replace("x = ", "return ", 1),
        ]
        code = (
            f'class Net(nn.Module):\n    """{title}"""\n\n    def __init__(self):\n'
            f"{' ' * INSIDE}super().__init__()\n" + "\n".join(body) + "\n"
        )
        classes = dict.fromkeys(each.code for each in self._classes.values())
        return NetworkCode((*classes, code), self._names)

    def _add_layers(self, layers: Sequence[Layer]) -> None:
        for layer in layers:
            if attribute := self._module.add(layer):
                self._names |= tensor_names(layer, attribute)

    def _add_blocks(self, blocks: Sequence[Block]) -> None:
        """Blocks with as many channels: one attribute with all of them."""
        self._groups += 1
        name = f"layer{self._groups}"
        made = [self._class_of(block).made(block) for block in blocks]
        for place, block in enumerate(blocks):
            prefix = name if len(blocks) == 1 else f"{name}.{place}"
            self._names |= self._class_of(block).tensor_names(block, prefix)
        self._module.add_attribute(
            name,
            f"{' ' * INSIDE}self.{name} = {made[0]}"
            if len(blocks) == 1
            else call(f"self.{name} = nn.Sequential(", made, ")", INSIDE),
        )

    def _class_of(self, block: Block) -> BlockClass:
        return self._classes[kind_of(block)]


def _block_classes(blocks: Sequence[Block]) -> dict[str, BlockClass]:
    """The class of each kind of block."""
    kinds = defaultdict[str, list[Block]](list)
    for block in blocks:
        kinds[kind_of(block)].append(block)
    names = ["Block"] if len(kinds) == 1 else [f"Block{i}" for i in range(1, 1 + len(kinds))]
    return {
        kind: BlockClass(name, found)
        for name, (kind, found) in zip(names, kinds.items(), strict=True)
    }


def _width_of_block(step: Step) -> int | None:
    """The channels that come out of a block, 0 if no layer of it says; None for a layer."""
    if not isinstance(step, Block):
        return None
    sizes = ("out_channels", "out_features", "channels")
    found = [getattr(layer, size) for layer in step.main for size in sizes if hasattr(layer, size)]
    return found[-1] if found else 0
