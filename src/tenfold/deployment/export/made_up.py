"""Images to compare models on where there are no real ones."""

from __future__ import annotations

import numpy as np

from tenfold.types import ImageShape, PixelArray


def made_up_images(shape: ImageShape, n: int) -> PixelArray:
    """Images with structure, the same each time: patches of any size and contrast, some with noise.

    The first two are black and white.

    Args:
        shape: of one image.
        n: number of images, at least 2.
    """
    generator = np.random.default_rng(0)
    others = (_any(shape, generator) for _ in range(2, n))
    return np.stack([_flat(shape, 0), _flat(shape, 255), *others])


def _flat(shape: ImageShape, value: int) -> np.ndarray:
    return np.full(shape, value, np.uint8)


def _any(shape: ImageShape, generator: np.random.Generator) -> np.ndarray:
    """Patches of one size, each of a random color, within a random range of values, with noise."""
    channels, height, width = shape
    side = int(generator.integers(1, 1 + max(height, width) // 2)) if max(height, width) > 1 else 1
    patches = generator.random((channels, -(-height // side), -(-width // side)))
    pixels = patches.repeat(side, axis=1).repeat(side, axis=2)[:, :height, :width]
    low, high = np.sort(generator.integers(0, 256, 2))
    noise = generator.normal(0, generator.choice([0.0, 0.0, 20.0]), shape)
    image: np.ndarray = (low + (high - low) * pixels + noise).clip(0, 255).astype(np.uint8)
    return image
