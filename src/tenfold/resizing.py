"""How pictures of any proportions are brought to one size. Importing this imports nothing else."""

from __future__ import annotations

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


def size_inside(own: Size, size: Size) -> Size:
    """The largest size with a picture's own proportions inside another one."""
    (own_height, own_width), (height, width) = own, size
    if own_height * width >= own_width * height:  # the height decides
        return height, max(1, round(own_width * height / own_height))
    return max(1, round(own_height * width / own_width)), width
