"""A small residual network with batch normalization, for images of about 28 to 64 pixels."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.models.arguments import MOST_LAYERS, require_arguments, require_whole
from tenfold.tensors import Logits
from tenfold.types import ImageShape


class ResNetSmall(nn.Module):
    """A residual network: a convolution, stages of residual blocks, global average pooling.

    After He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015
    (arXiv:1512.03385), section 4.2, but wider and less deep. Each stage after the first halves the
    size. Thanks to the global average pooling any size works, with `stem_pool` any from 2x2; the
    smallest tested is 8x8. If the last stage has one pixel, a training batch needs at least two
    images.

    Args:
        input_shape: shape of one image.
        classes: number of classes.
        widths: channels of each stage.
        blocks: residual blocks per stage.
        dropout: dropout probability of the last features, 0 <= dropout < 1.
        stem_pool: whether 2x2 max-pooling follows the first convolution, as for the large images of
            the paper. What follows then takes about a quarter of the work.

    Raises:
        UsageError: an argument is out of range.
    """

    def __init__(
        self,
        input_shape: ImageShape,
        classes: int,
        *,
        widths: tuple[int, ...] = (32, 64, 128),
        blocks: int = 1,
        dropout: float = 0.0,
        stem_pool: bool = False,
    ) -> None:
        super().__init__()
        layers = {"widths": widths}
        require_arguments("resnet-small", input_shape, classes, dropout=dropout, layers=layers)
        if not widths:
            raise UsageError("resnet-small: widths is empty, wanted one width per stage")
        require_whole("resnet-small", "blocks", blocks, MOST_LAYERS // len(widths))
        if stem_pool and min(input_shape[1:]) < 2:
            raise UsageError(
                f"resnet-small: images of {input_shape} are too small for stem_pool, wanted at "
                "least 2x2 pixels",
                remedy="choose larger images, or leave stem_pool out",
            )
        self.stem = nn.Sequential(
            convolution(input_shape.channels, widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        if stem_pool:
            self.stem.append(nn.MaxPool2d(2))
        self.stages = nn.Sequential(*_stages(widths, blocks))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], classes)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Logits:
        """Logits, one per image and class."""
        # A plain mean, because the gradient of nn.AdaptiveAvgPool2d is not deterministic on CUDA.
        features: Tensor = self.stages(self.stem(images)).mean(dim=(2, 3))
        logits: Tensor = self.classifier(self.dropout(features))
        return logits


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to the input.

    If size or channels change, the input goes through a 1x1 convolution (option B of the paper).

    Args:
        inputs: input channels.
        outputs: output channels.
        stride: 2 halves height and width, 1 keeps them.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            convolution(inputs, outputs, stride=stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            convolution(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                convolution(inputs, outputs, kernel_size=1, stride=stride),
                nn.BatchNorm2d(outputs),
            )

    def forward(
        self, features: Float[Tensor, "n inputs height width"]
    ) -> Float[Tensor, "n outputs smaller_height smaller_width"]:
        """The block's output, after ReLU."""
        return F.relu(self.residual(features) + self.shortcut(features))


def _stages(widths: tuple[int, ...], blocks: int) -> list[nn.Module]:
    stages: list[nn.Module] = []
    inputs = widths[0]
    for place, width in enumerate(widths):
        first = ResidualBlock(inputs, width, stride=1 if place == 0 else 2)
        others = [ResidualBlock(width, width, stride=1) for _ in range(blocks - 1)]
        stages.append(nn.Sequential(first, *others))
        inputs = width
    return stages


def convolution(inputs: int, outputs: int, *, kernel_size: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution before batch normalization: no bias, and the paper's initialization."""
    layer = nn.Conv2d(
        inputs, outputs, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
    )
    # On the meta device there is nothing to initialize, and PyTorch would import its compiler.
    if not layer.weight.is_meta:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
