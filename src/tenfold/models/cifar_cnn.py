"""The small convolutional network often used to teach CIFAR-10."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from tenfold.models.arguments import flattened_size, require_arguments
from tenfold.models.mlp import perceptron
from tenfold.tensors import Logits
from tenfold.types import ImageShape


class CifarCNN(nn.Module):
    """Two small convolutions with max-pooling, then a perceptron.

    Args:
        input_shape: shape of one image, at least 10x10 pixels.
        classes: number of classes.
        hidden: width of each hidden linear layer.
        dropout: dropout probability after each hidden linear layer, 0 <= dropout < 1.

    Raises:
        UsageError: an argument is out of range, or the images are too small.
    """

    def __init__(
        self,
        input_shape: ImageShape,
        classes: int,
        *,
        hidden: tuple[int, ...] = (120, 84),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers = {"hidden": hidden}
        require_arguments("cifar-cnn", input_shape, classes, dropout=dropout, layers=layers)
        self.features = nn.Sequential(
            nn.Conv2d(input_shape.channels, 6, kernel_size=3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, kernel_size=3),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        inputs = flattened_size("cifar-cnn", self.features, input_shape)
        self.classifier = perceptron(inputs, hidden, classes, dropout)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Logits:
        """Logits, one per image and class."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
