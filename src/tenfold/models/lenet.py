"""A variant of LeNet-5 with ReLU and max-pooling."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from tenfold.models.arguments import flattened_size, require_arguments
from tenfold.models.mlp import perceptron
from tenfold.tensors import Logits
from tenfold.types import ImageShape


class LeNet(nn.Module):
    """LeNet-5 with ReLU, max-pooling and a full third convolution.

    After LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", 1998. As there, on 28x28 images the third convolution covers its whole input.

    Args:
        input_shape: shape of one image, at least 28x28 pixels.
        classes: number of classes.
        dropout: dropout probability after the last hidden layer, 0 <= dropout < 1.

    Raises:
        UsageError: an argument is out of range, or the images are too small.
    """

    def __init__(self, input_shape: ImageShape, classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        require_arguments("lenet", input_shape, classes, dropout=dropout)
        self.features = nn.Sequential(
            nn.Conv2d(input_shape.channels, 6, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 120, kernel_size=5),
            nn.ReLU(),
        )
        inputs = flattened_size("lenet", self.features, input_shape)
        self.classifier = perceptron(inputs, [84], classes, dropout)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Logits:
        """Logits, one per image and class."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
