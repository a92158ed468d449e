"""More training images, from another place than a run's data: corrected answers, for example."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.folders.damage import BadFilesError
from tenfold.data.load import read_data
from tenfold.deployment.background import IN_WORDS, background_of, opposite
from tenfold.deployment.differences import USUAL
from tenfold.deployment.looks import looks_of
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
    try:
        read = read_data(
            place,
            image_size=(shape.height, shape.width),
            channels=shape.channels,
            resize=recipe.resize,
            depth=depth,
            listener=_Prefixed(listener, f"images to add from {place}: "),
        )
    except BadFilesError as error:
        raise DataError(error.message, remedy="mend these files, or remove them") from error
    except DataError as error:
        wanted = f"put the images to add into class folders: {place}/CLASS/IMAGE"
        raise DataError(error.message, remedy=wanted) from error
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
            f"{counted(len(added), 'image')} to add to the training images, of "
            f"{quoted(names, 5)}, from {place}"
        )
        background = background_of(train.image_array)
        looks = looks_of(added.image_array, background)
        n = sum(look.is_uncentered for look in looks)
        if n > USUAL * len(added):
            listener.note(
                f"{n:,} of them {'has' if n == 1 else 'have'} a smaller, larger or fainter subject "
                "than the other training images, or one that is off-center or on another "
                "background; unless the model should learn that, crop them to the subject first, "
                "as the page of tenfold serve --collect does"
            )
        inverted = sum(look.is_inverted and not look.is_uncentered for look in looks)
        if background is not None and (n := inverted):
            listener.note(
                f"{n:,} of them {'is' if n == 1 else 'are'} {IN_WORDS[opposite(background.shade)]}"
                f", but the other training images are {IN_WORDS[background.shade]}; add their "
                "negatives instead, unless the model should handle both"
            )
    elif recorded.fingerprint != added.fingerprint:
        raise DataError(
            f"{place}: the images that are added have changed since the run began: there were "
            f"{recorded.n:,}, and there are {len(added):,}, or others",
            remedy="restore them, or train a new run with the current ones",
        )
    return added


def with_added(splits: Splits, added: ImageDataset | None, listener: Listener) -> Splits:
    """The splits with these images among the training images.

    Those that are equal to a validation or test image are left out.

    Args:
        splits: of the data.
        added: of the same classes and shape; None for none.
        listener: gets a note on those that are left out.
    """
    if added is None:
        return splits
    others = [part for part in (splits.val, splits.test) if part is not None]
    held_out = {image.tobytes() for part in others for image in part.image_array}
    is_new = np.array([image.tobytes() not in held_out for image in added.image_array])
    if n := int((~is_new).sum()):
        listener.note(
            f"{counted(n, 'image')} to add {'is' if n == 1 else 'are'} left out, as "
            f"{'it is' if n == 1 else 'they are'} among those that are held out for validation or "
            "testing"
        )
    return (
        replace(splits, train=splits.train.joined(added.select(is_new)))
        if n < len(added)
        else splits
    )


class _Prefixed(Listener):
    """Forwards progress, and notes with words before them."""

    def __init__(self, listener: Listener, words: str) -> None:
        self._listener, self._words = listener, words

    def note(self, text: str) -> None:
        self._listener.note(f"{self._words}{text}")

    def reading(self, what: str, done: int, total: int | None) -> None:
        self._listener.reading(what, done, total)
