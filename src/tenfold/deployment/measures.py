"""What can be measured of gray images with a subject on a background, each of many at once.

Arrays of gray images have the shape n x height x width, and values of 0..255.
"""

from __future__ import annotations

import numpy as np

from tenfold.deployment.windows import of_windows
from tenfold.types import PixelArray

SUBJECT = 128
"""The least gray value of a subject on a dark background."""

DARK, LIGHT = 64, 191
"""The darkest quarter of gray values, and the lightest."""


def gray_of(images: PixelArray) -> np.ndarray:
    """Images, n x channels x height x width, in gray."""
    if images.shape[1] == 1:
        return images[:, 0].astype(np.float32)
    found: np.ndarray = images.mean(axis=1, dtype=np.float32)
    return found


def reduced(gray: np.ndarray, shorter: int) -> np.ndarray:
    """Images whose shorter side has about so many pixels, or fewer, by the means of squares."""
    step = round(min(gray.shape[1:]) / shorter)
    if step <= 1:
        return gray
    height, width = (side // step for side in gray.shape[1:])
    squares = gray[:, : height * step, : width * step].reshape(-1, height, step, width, step)
    found: np.ndarray = squares.mean(axis=(2, 4))
    return found


def rims(gray: np.ndarray) -> np.ndarray:
    """The median of the outermost pixels of each image."""
    sides = [gray[:, 0], gray[:, -1], gray[:, 1:-1, 0], gray[:, 1:-1, -1]]
    found: np.ndarray = np.median(np.concatenate(sides, axis=1), axis=1)
    return found


def darker_than_rim(gray: np.ndarray) -> np.ndarray:
    """Of which images the subject is darker than a background that changes from side to side."""
    n, height, width = gray.shape
    y, x = np.indices((height, width), np.float32)
    places = np.stack([np.ones_like(x), x, y], axis=-1).reshape(-1, 3)
    rim = np.zeros((height, width), bool)
    rim[[0, -1]] = rim[:, [0, -1]] = True
    values = gray.reshape(n, -1)
    slopes = values[:, rim.ravel()] @ np.linalg.pinv(places[rim.ravel()]).T
    difference = values - slopes @ places.T
    found: np.ndarray = -difference.min(axis=1) > difference.max(axis=1)
    return found


def extents(gray: np.ndarray) -> np.ndarray:
    """Of each image, the longer side of its subject as a share of the image's; 0 without one."""
    subject = np.greater_equal(gray, SUBJECT)
    longest = np.zeros(len(gray))
    for axis in (1, 2):
        there = subject.any(axis=3 - axis)
        first, last = there.argmax(axis=1), there.shape[1] - 1 - there[:, ::-1].argmax(axis=1)
        sides = np.where(there.any(axis=1), last - first + 1, 0) / there.shape[1]
        longest = np.maximum(longest, sides)
    return longest


def strengths(gray: np.ndarray) -> np.ndarray:
    """The mean of the lightest sixteenth of each image."""
    values = np.sort(gray.reshape(len(gray), -1), axis=1)
    found: np.ndarray = values[:, -max(1, values.shape[1] // 16) :].mean(axis=1, dtype=np.float64)
    return found


def shares(gray: np.ndarray) -> np.ndarray:
    """The share of each image that is not clearly background."""
    found: np.ndarray = (gray > DARK).mean(axis=(1, 2))
    return found


def thickness(gray: np.ndarray) -> np.ndarray:
    """Of each image, the longest side of a square that is all subject, as a share of its longer."""
    subject = np.greater_equal(gray, SUBJECT)
    side, found = 0, np.zeros(len(gray))
    while subject.size and (there := subject.any(axis=(1, 2))).any():
        side += 1
        found[there] = side
        wide = subject[:, :, :-1] & subject[:, :, 1:]
        subject = wide[:, :-1] & wide[:, 1:]
    return found * pixel(gray)


def strokes(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How strong what is thin and light, and what is thin and dark, is in each image, but its rim.

    The mean square of what a morphological opening, or a closing, with squares of 3 x 3 pixels
    takes away.
    """
    height, width = gray.shape[1:]
    top, left = max(1, height // 14), max(1, width // 14)
    opened = of_windows(of_windows(gray, 1, np.minimum), 1, np.maximum)
    closed = of_windows(of_windows(gray, 1, np.maximum), 1, np.minimum)
    light, dark = (
        ((gray - each)[:, top:-top, left:-left] ** 2).sum(axis=(1, 2)) / gray[0].size
        for each in (opened, closed)
    )
    return light, dark


def offsets(gray: np.ndarray) -> np.ndarray:
    """Of each image, how far its subject's center of mass is from the middle; 0 without one.

    The larger of the distances along the two axes, each as a share of the image's side.
    """
    mass = np.maximum(gray - DARK, 0)
    whole = np.maximum(mass.sum(axis=(1, 2)), 1e-6)
    farthest = np.zeros(len(gray))
    for axis in (1, 2):
        along = mass.sum(axis=3 - axis)
        side = along.shape[1]
        from_middle = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / side
        farthest = np.maximum(farthest, np.abs(along @ from_middle / whole))
    return farthest


def pixel(gray: np.ndarray) -> float:
    """A pixel as a share of images' longer side."""
    return float(1 / max(gray.shape[1:]))
