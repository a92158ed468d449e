"""The model's first step: from raw pixels to the network's input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from tenfold.errors import DataError, UsageError
from tenfold.tensors import Images


class Preprocessing(nn.Module):
    """Scale raw pixels 0..255 to 0..1, then optionally normalize them: `(x - mean) / std`.

    Mean and std are those of each channel over the training images, or those of each image over all
    its pixels. The latter takes differences of lighting away; an image's std counts as at least
    1/255, one step of gray, so that an image of a single color becomes 0 (as, with another least
    value, in TensorFlow's `per_image_standardization`).

    Nothing of this is in `state_dict()`: `to_header` gives it in a JSON-serializable form.

    Args:
        mean: one per channel, of pixels in 0..1; empty for no such normalization.
        std: standard deviations, one per channel, greater than 0; empty for no such normalization.
        by_image: whether each image is normalized by its own mean and std.

    Raises:
        UsageError: mean and std differ in length or are given beside `by_image`, a value is not
            finite, or a standard deviation is not greater than 0 in single precision.
    """

    def __init__(
        self, mean: Sequence[float] = (), std: Sequence[float] = (), *, by_image: bool = False
    ) -> None:
        super().__init__()
        if by_image and (mean or std):
            raise UsageError(
                "preprocessing: images are normalized by their own means and deviations, "
                "but mean and std were also given"
            )
        self.by_image = by_image
        if len(mean) != len(std):
            raise UsageError(
                f"preprocessing: {len(mean)} means but {len(std)} standard deviations, "
                "wanted one of each per channel"
            )
        self._mean, self._std = tuple(mean), tuple(std)
        means, deviations = _per_channel(mean), _per_channel(std)
        if not (means.isfinite() & deviations.isfinite() & (deviations > 0)).all():
            raise UsageError(
                f"preprocessing: mean {list(mean)}, std {list(std)}, "
                "wanted finite numbers and standard deviations greater than 0"
            )
        # A tensor on the images' device: CUDA multiplies by the reciprocal of a Python number,
        # which differs from the division in the last bit.
        self.white = nn.Buffer(torch.tensor(255.0), persistent=False)
        self.mean = nn.Buffer(means, persistent=False)
        self.std = nn.Buffer(deviations, persistent=False)

    @classmethod
    def fitted_to(cls, images: Images) -> Preprocessing:
        """A preprocessing that gives these images mean 0 and standard deviation 1 per channel.

        Raises:
            DataError: there are no pixels, or all pixels of a channel are equal.
        """
        if images.numel() == 0:
            raise DataError("preprocessing: no pixels to compute mean and standard deviation of")
        moments = [_mean_and_std(images[:, channel]) for channel in range(images.shape[1])]
        for channel, (_, std) in enumerate(moments):
            if std == 0:
                raise DataError(
                    f"preprocessing: all pixels of channel {channel} are equal, "
                    "wanted a standard deviation greater than 0 to divide by",
                    remedy="train without normalization: --set normalize=none",
                )
        return cls([mean for mean, _ in moments], [std for _, std in moments])

    def to_header(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-serializable."""
        return {"mean": list(self._mean), "std": list(self._std), "by_image": self.by_image}

    def forward(
        self, images: Shaped[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """Preprocess raw pixels, uint8, 0..255.

        Raises:
            UsageError: the images are not uint8, or their number of channels is not that of the
                normalization.
        """
        if images.dtype != torch.uint8:
            raise UsageError(
                f"preprocessing: the images are {images.dtype}, wanted raw pixels 0..255 as "
                "torch.uint8: the model scales them itself"
            )
        pixels = images.float().div_(self.white)
        if self.by_image:
            mean, std = _of_each_image(images)
            return pixels.sub_(mean).div_(std)
        if not self._mean:
            return pixels
        if images.shape[1] != len(self._mean):
            raise UsageError(
                f"preprocessing: the images have {images.shape[1]} channels, wanted "
                f"{len(self._mean)}, one per mean"
            )
        return pixels.sub_(self.mean).div_(self.std)

    def extra_repr(self) -> str:
        """Mean and std, for the module's repr."""
        if self.by_image:
            return "by_image=True"
        return f"mean={self._mean}, std={self._std}" if self._mean else ""


def _of_each_image(images: Images) -> tuple[Float[Tensor, "n 1 1 1"], Float[Tensor, "n 1 1 1"]]:
    """Mean and std of each image's pixels scaled to 0..1, from exact sums."""
    n, all_pixels = math.prod(images.shape[1:]), (1, 2, 3)
    total = images.sum(all_pixels, dtype=torch.int64, keepdim=True).double()
    squares = images.int().square().sum(all_pixels, dtype=torch.int64, keepdim=True).double()
    spread = (n * squares - total * total).clamp_min(0)
    return (total / (n * 255)).float(), ((spread.sqrt() / n).clamp_min(1) / 255).float()


def _mean_and_std(pixels: UInt8[Tensor, "n height width"]) -> tuple[float, float]:
    """Mean and standard deviation of pixels scaled to 0..1, from the histogram of 256 values."""
    share = torch.bincount(pixels.flatten(), minlength=256).double() / pixels.numel()
    values = torch.arange(256, dtype=torch.float64, device=pixels.device) / 255
    mean = (share * values).sum()
    variance = (share * (values - mean).square()).sum()
    return mean.item(), variance.sqrt().item()


def _per_channel(values: Sequence[float]) -> Float[Tensor, "1 channels 1 1"]:
    return torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1)
