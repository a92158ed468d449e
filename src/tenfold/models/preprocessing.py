"""The model's first step: from raw pixels to what the network expects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from tenfold.errors import DataError, UsageError
from tenfold.tensors import Images


class Preprocessing(nn.Module):
    """Raw pixels 0..255 to numbers 0..1, then, if asked for, `(x - mean) / std` per channel.

    Its values are no part of `state_dict()`: `to_header` gives them, as JSON can hold them.

    Args:
        mean: one for every channel, of pixels in 0..1; empty for no normalization.
        std: one for every channel, greater than 0; empty for no normalization.

    Raises:
        UsageError: the two differ in length, or a value is not finite, or a deviation is not
            greater than 0 in single precision.
    """

    def __init__(self, mean: Sequence[float] = (), std: Sequence[float] = ()) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise UsageError(
                f"preprocessing: {len(mean)} means but {len(std)} deviations, "
                "wanted one of each for every channel"
            )
        self._mean, self._std = tuple(mean), tuple(std)
        means, deviations = _per_channel(mean), _per_channel(std)
        if not (means.isfinite() & deviations.isfinite() & (deviations > 0)).all():
            raise UsageError(
                f"preprocessing: mean {list(mean)}, std {list(std)}, "
                "wanted finite numbers and deviations greater than 0"
            )
        # A tensor on the images' device: CUDA multiplies by the reciprocal of a Python number,
        # which differs from the division in the last bit.
        self.white = nn.Buffer(torch.tensor(255.0), persistent=False)
        self.mean = nn.Buffer(means, persistent=False)
        self.std = nn.Buffer(deviations, persistent=False)

    @classmethod
    def fitted_to(cls, images: Images) -> Preprocessing:
        """The one that gives these images mean 0 and deviation 1 in every channel.

        Raises:
            DataError: there are no pixels, or all pixels of a channel are equal.
        """
        if images.numel() == 0:
            raise DataError("preprocessing: there are no pixels to take mean and deviation of")
        moments = [_mean_and_std(images[:, channel]) for channel in range(images.shape[1])]
        for channel, (_, std) in enumerate(moments):
            if std == 0:
                raise DataError(
                    f"preprocessing: all pixels of channel {channel} are equal, "
                    "wanted pixels that differ, so that there is a deviation to divide by",
                    remedy="train without normalization",
                )
        return cls([mean for mean, _ in moments], [std for _, std in moments])

    def to_header(self) -> dict[str, list[float]]:
        """The arguments that make the same again, as JSON can hold them."""
        return {"mean": list(self._mean), "std": list(self._std)}

    def forward(
        self, images: Shaped[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """Raw pixels, uint8, 0..255, as the network expects them.

        Raises:
            UsageError: the images are not uint8, or have other channels than the normalization.
        """
        if images.dtype != torch.uint8:
            raise UsageError(
                f"preprocessing: the images are {images.dtype}, wanted raw pixels 0..255 as "
                "torch.uint8: the model scales them itself"
            )
        pixels = images.float().div_(self.white)
        if not self._mean:
            return pixels
        if images.shape[1] != len(self._mean):
            raise UsageError(
                f"preprocessing: the images have {images.shape[1]} channels, wanted "
                f"{len(self._mean)}, as many as there are means"
            )
        return pixels.sub_(self.mean).div_(self.std)

    def extra_repr(self) -> str:
        """The values, for the module's text."""
        return f"mean={self._mean}, std={self._std}" if self._mean else ""


@contextmanager
def raw_pixels_explained(net: object, images: Tensor) -> Iterator[None]:
    """Say what to do where a network is called with raw pixels, and fails, inside the block.

    Args:
        net: a module or any other function of the images.
        images: what it is called with.

    Raises:
        UsageError: the images are uint8, and nothing in the network scales them.
    """
    try:
        yield
    except RuntimeError as error:
        modules = net.modules() if isinstance(net, nn.Module) else ()
        if images.dtype != torch.uint8 or any(isinstance(m, Preprocessing) for m in modules):
            raise
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"the images are raw pixels 0..255 (torch.uint8), and the network failed: {reason}",
            remedy="scale them to 0..1: begin the network with tenfold.models.Preprocessing(), or "
            "load with tenfold.data.DataLoader(..., scale=True)",
        ) from error


def _mean_and_std(pixels: UInt8[Tensor, "n height width"]) -> tuple[float, float]:
    """Mean and deviation of pixels scaled to 0..1, from how often each of the 256 values occurs."""
    share = torch.bincount(pixels.flatten(), minlength=256).double() / pixels.numel()
    values = torch.arange(256, dtype=torch.float64, device=pixels.device) / 255
    mean = (share * values).sum()
    variance = (share * (values - mean).square()).sum()
    return mean.item(), variance.sqrt().item()


def _per_channel(values: Sequence[float]) -> Float[Tensor, "1 channels 1 1"]:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
