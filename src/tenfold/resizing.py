"""How pictures of any proportions are brought to one size. Importing this imports little else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias

Resize: TypeAlias = Literal["pad", "squash", "crop"]
"""How a picture is brought to a size of other proportions.

`pad` scales all of it to fit inside, in the middle, and fills the rest with the mean color of its
outermost pixels. `squash` scales height and width by different factors. `crop` scales its largest
part of those proportions, from the middle.
"""

DEFAULT_RESIZE: Resize = "squash"

Size: TypeAlias = tuple[int, int]
"""Height and width."""

SizeLike: TypeAlias = int | str | Sequence[int]
"""What `as_size` takes."""

LARGEST_SIDE = 4096
"""Of the size that images can be brought to, in pixels."""


def as_size(value: object) -> Size:
    """A size from a pair, one number for a square, or text such as `64` and `48x64`.

    Raises:
        ValueError: it is none, with the words for what is wanted.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value, value)
    if isinstance(value, str) and (found := re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", value)):
        value = int(found[1]), int(found[2] or found[1])
    sides = tuple(value) if isinstance(value, list | tuple) else ()
    if len(sides) != 2 or not all(
        isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= LARGEST_SIDE
        for side in sides
    ):
        raise ValueError(
            f"height and width of 1 to {LARGEST_SIDE:,} pixels, such as 64, 48x64 or [48,64]"
        )
    return sides[0], sides[1]


def size_inside(own: Size, size: Size) -> Size:
    """The largest size with a picture's own proportions inside another one."""
    (own_height, own_width), (height, width) = own, size
    if own_height * width >= own_width * height:  # the height decides
        return height, max(1, round(own_width * height / own_height))
    return max(1, round(own_height * width / own_width)), width
