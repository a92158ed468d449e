"""The whole model: preprocessing, then the network."""

from __future__ import annotations

from jaxtyping import Shaped
from torch import Tensor, nn

from tenfold.models.preprocessing import Preprocessing


class ImageModel(nn.Module):
    """From raw uint8 images to logits.

    Args:
        preprocessing: from raw pixels to the network's input; it has no weights.
        network: from preprocessed images to logits.
    """

    def __init__(self, preprocessing: Preprocessing, network: nn.Module) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.network = network

    def forward(self, images: Shaped[Tensor, "n channels height width"]) -> Tensor:
        """Logits, n x classes.

        Raises:
            UsageError: the images are not uint8, or their number of channels is not that of the
                preprocessing.
        """
        logits: Tensor = self.network(self.preprocessing(images))
        return logits
