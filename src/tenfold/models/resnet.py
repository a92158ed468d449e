"""Residual networks of the paper, whose weights have the names and shapes of torchvision's.

K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", CVPR 2016
(arXiv:1512.03385), table 1. As in torchvision, the 3x3 convolution of a bottleneck has its stride.
"""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from tenfold.models.arguments import require_arguments, require_whole
from tenfold.models.resnet_small import convolution
from tenfold.tensors import Logits
from tenfold.types import ImageShape

WIDTHS = (64, 128, 256, 512)
"""Channels inside the blocks of each stage."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to the input.

    Args:
        inputs: input channels.
        width: output channels.
        stride: 2 halves height and width, 1 keeps them.
    """

    expansion: ClassVar[int] = 1
    """Output channels, in proportion to the width."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = convolution(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(
        self, features: Float[Tensor, "n inputs height width"]
    ) -> Float[Tensor, "n outputs smaller_height smaller_width"]:
        """The block's output, after ReLU."""
        out = self.relu(self.bn1(self.conv1(features)))
        out = self.bn2(self.conv2(out))
        shortcut = features if self.downsample is None else self.downsample(features)
        summed: Tensor = self.relu(out + shortcut)
        return summed


class Bottleneck(nn.Module):
    """A 1x1 convolution, a 3x3 one with fewer channels, and a 1x1 one, added to the input.

    Args:
        inputs: input channels.
        width: channels of the 3x3 convolution; the output has four times as many.
        stride: 2 halves height and width, 1 keeps them.
    """

    expansion: ClassVar[int] = 4
    """Output channels, in proportion to the width."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = convolution(inputs, width, kernel_size=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, outputs, kernel_size=1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(
        self, features: Float[Tensor, "n inputs height width"]
    ) -> Float[Tensor, "n outputs smaller_height smaller_width"]:
        """The block's output, after ReLU."""
        out = self.relu(self.bn1(self.conv1(features)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = features if self.downsample is None else self.downsample(features)
        summed: Tensor = self.relu(out + shortcut)
        return summed


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    """A 1x1 convolution if size or channels change; None if the input is added as it is."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(
        convolution(inputs, outputs, kernel_size=1, stride=stride), nn.BatchNorm2d(outputs)
    )


class ResNet(nn.Module):
    """A residual network: a 7x7 convolution, pooling, four stages of blocks, global pooling.

    It was made for images of 224 x 224 pixels, of which the last stage sees 7 x 7; of 32 x 32, it
    sees 1 x 1. `stem_stride=1` and `stem_pool=False` let it see twice as many each, with the same
    weights, and four times the work.

    Args:
        input_shape: shape of one image.
        classes: number of classes.
        stem_stride: of the first convolution, 1 or 2.
        stem_pool: whether 3x3 max-pooling with a stride of 2 follows it.
        dropout: dropout probability of the last features, 0 <= dropout < 1.

    Raises:
        UsageError: an argument is out of range.
    """

    name: ClassVar[str]
    block: ClassVar[type[BasicBlock] | type[Bottleneck]]
    blocks: ClassVar[tuple[int, int, int, int]]
    """Of each stage."""

    def __init__(
        self,
        input_shape: ImageShape,
        classes: int,
        *,
        stem_stride: int = 2,
        stem_pool: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_arguments(self.name, input_shape, classes, dropout=dropout)
        require_whole(self.name, "stem_stride", stem_stride, 2)
        self.conv1 = convolution(input_shape.channels, 64, kernel_size=7, stride=stem_stride)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem_pool else nn.Identity()
        inputs, stages = 64, []
        for place, (width, number) in enumerate(zip(WIDTHS, self.blocks, strict=True)):
            first = self.block(inputs, width, 1 if place == 0 else 2)
            inputs = width * self.block.expansion
            stages.append(
                nn.Sequential(first, *(self.block(inputs, width, 1) for _ in range(number - 1)))
            )
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Logits:
        """Logits, one per image and class."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3))))
        return logits


class ResNet18(ResNet):
    """Eighteen layers: two basic blocks a stage, 11.7 million weights for 1,000 classes."""

    name, block, blocks = "resnet18", BasicBlock, (2, 2, 2, 2)


class ResNet34(ResNet):
    """Thirty-four layers of basic blocks, 21.8 million weights for 1,000 classes."""

    name, block, blocks = "resnet34", BasicBlock, (3, 4, 6, 3)


class ResNet50(ResNet):
    """Fifty layers of bottlenecks, 25.6 million weights for 1,000 classes."""

    name, block, blocks = "resnet50", Bottleneck, (3, 4, 6, 3)
