"""Filling in what a recipe leaves to the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tenfold.errors import DataError
from tenfold.recipes.recipe import Recipe


def completed(
    recipe: Recipe,
    *,
    source: str,
    image_shape: tuple[int, int, int],
    depth: int | None = None,
    labels: str = "",
    paths: Mapping[str, str] | None = None,
    model_arguments: Mapping[str, Any],
) -> Recipe:
    """The recipe with data, image size, channels and all model arguments filled in.

    Args:
        recipe: the recipe as given.
        source: the data's name or path.
        image_shape: channels, height and width of one image.
        depth: of 16-bit gray images, the number of bits that count, unless the recipe says so; None
            without such images.
        labels: where the images' labels are.
        paths: where the files are that the recipe names, by its keys.
        model_arguments: the model's own, defaults included.

    Raises:
        DataError: the path of the data is not UTF-8.
    """
    if source != source.encode("utf-8", "replace").decode():
        raise DataError(
            f"{source}: the path is not UTF-8, so a recipe cannot name it",
            remedy="rename the folder",
        )
    channels, height, width = image_shape
    return recipe.model_copy(
        update={
            "data": source,
            "image_size": (height, width),
            "depth": recipe.depth or depth,
            "labels": labels,
            **(paths or {}),
            "channels": channels if channels in (1, 3) else None,
            "model_args": dict(model_arguments),
        }
    )
