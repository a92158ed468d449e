"""More training images, from another place than a run's data: corrected answers, for example."""

from __future__ import annotations

from dataclasses import replace

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.load import read_data
from tenfold.deployment.background import IN_WORDS, background_of, looks_of, opposite
from tenfold.errors import DataError, counted, listing, quoted
from tenfold.listening import Listener
from tenfold.paths import exists
from tenfold.recipes import Recipe
from tenfold.runs.facts import AddedFacts
from tenfold.storage import expanded


def read_added(
    recipe: Recipe,
    splits: Splits,
    depth: int | None,
    listener: Listener,
    recorded: AddedFacts | None = None,
) -> ImageDataset | None:
    """The images that a recipe adds to the training images; None if it adds none.

    Args:
        recipe: its `add` says where they are.
        splits: of the data; have all classes, and the shape that is wanted.
        depth: of 16-bit gray images, the number of bits that count.
        listener: gets the progress, and a note on how many there are.
        recorded: those that the run began with; None for a new run.

    Raises:
        DataError: they cannot be read, are divided into splits, are of other classes, or are not
            those that the run began with.
    """
    if not recipe.add:
        return None
    train, place = splits.train, expanded(recipe.add)
    shape = train.image_shape
    if not exists(place):
        raise DataError(
            f"{place}: no such folder or file, wanted class folders with images to add",
            remedy="check the path" if recorded is None else "put it back",
        )
    read = read_data(
        place,
        image_size=(shape.height, shape.width),
        channels=shape.channels,
        resize=recipe.resize,
        depth=depth,
        listener=listener,
    )
    if read.parts.keys() != {"train"}:
        raise DataError(
            f"{place}: the images to add are divided into {listing(sorted(read.parts))}, wanted "
            "class folders alone",
            remedy=f"name its training images: --add {place}/train",
        )
    added = read.parts["train"].with_classes(train.classes, "those of the data")
    if recorded is None:
        names = [name for name, n in zip(train.classes, added.class_counts(), strict=True) if n]
        listener.note(
            f"added to the training images: {counted(len(added), 'image')} of {quoted(names, 5)}, "
            f"from {place}"
        )
        background = background_of(train.image_array)
        looks = looks_of(added.image_array, background)
        if background is not None and (n := sum(look.is_inverted for look in looks)):
            are = "is" if n == 1 else "are"
            listener.note(
                f"{n:,} of them {are} {IN_WORDS[opposite(background.shade)]}, "
                f"but the other training images are {IN_WORDS[background.shade]}; unless the model "
                "is to know both, add negatives instead"
            )
        if splits.test is not None and (n := _shared(added, splits.test)):
            listener.note(
                f"{n:,} of them {'is a test image' if n == 1 else 'are test images'}, so the test "
                "figures will be too good"
            )
    elif recorded.fingerprint != added.fingerprint:
        raise DataError(
            f"{place}: the images that are added have changed since the run began, with "
            f"{counted(recorded.n, 'image')}; there are {len(added):,} now",
            remedy="restore them, or train a new run with those of now",
        )
    return added


def _shared(added: ImageDataset, test: ImageDataset) -> int:
    """How many images of one data set are also in another one."""
    own = {image.tobytes() for image in test.image_array}
    return sum(image.tobytes() in own for image in added.image_array)


def with_added(splits: Splits, added: ImageDataset | None) -> Splits:
    """The splits with these images among the training images."""
    return splits if added is None else replace(splits, train=splits.train.joined(added))
