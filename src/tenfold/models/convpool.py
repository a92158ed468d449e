"""Wide blocks of convolution and max-pooling, then a perceptron."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.models.arguments import flattened_size, require_arguments
from tenfold.models.mlp import perceptron
from tenfold.tensors import Logits
from tenfold.types import ImageShape


class ConvPool(nn.Module):
    """Blocks of (size-preserving convolution, ReLU, 2x2 max-pooling), then a perceptron.

    Args:
        input_shape: shape of one image; each block halves it, so two blocks need at least 4x4
            pixels.
        classes: number of classes.
        channels: channels of each block.
        kernels: kernel size of each block in pixels, odd, one for each of `channels`.
        hidden: width of each hidden linear layer.
        dropout: dropout probability after the first hidden linear layer, 0 <= dropout < 1.

    Raises:
        UsageError: an argument is out of range, or the images are too small.
    """

    def __init__(
        self,
        input_shape: ImageShape,
        classes: int,
        *,
        channels: tuple[int, ...] = (64, 128),
        kernels: tuple[int, ...] = (11, 5),
        hidden: tuple[int, ...] = (2048, 1024),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        layers = {"channels": channels, "kernels": kernels, "hidden": hidden}
        require_arguments("convpool", input_shape, classes, dropout=dropout, layers=layers)
        _require_kernels(channels, kernels)
        self.features = _blocks(input_shape.channels, channels, kernels)
        inputs = flattened_size("convpool", self.features, input_shape)
        self.classifier = perceptron(inputs, hidden, classes, dropout, only_the_first_drops=True)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Logits:
        """Logits, one per image and class."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


def _require_kernels(channels: tuple[int, ...], kernels: tuple[int, ...]) -> None:
    if len(kernels) != len(channels):
        raise UsageError(
            f"convpool: channels has length {len(channels)}, but kernels {len(kernels)}, "
            "wanted one kernel per block"
        )
    for place, kernel in enumerate(kernels):
        if kernel % 2 == 0:
            raise UsageError(
                f"convpool: kernels[{place}] is {kernel}, wanted an odd number: "
                "an even kernel cannot keep the size"
            )


def _blocks(inputs: int, channels: tuple[int, ...], kernels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for outputs, kernel in zip(channels, kernels, strict=True):
        layers += [
            nn.Conv2d(inputs, outputs, kernel_size=kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        inputs = outputs
    return nn.Sequential(*layers)
