"""From what a client sends to what the model says: conversion, prediction, explanation."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import numpy as np

from tenfold.data.folders.images import read_header
from tenfold.deployment.classifier import Classifier
from tenfold.deployment.explaining import occlusion_map
from tenfold.deployment.looks import Look, looks_of
from tenfold.deployment.serving.batching import Batcher, Judged
from tenfold.deployment.serving.bodies import Picture
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.patience import Patience
from tenfold.deployment.serving.pictures import (
    data_address,
    explanation_image,
    image_of,
    is_quick,
    png_of,
)
from tenfold.deployment.serving.pool import Pool
from tenfold.deployment.serving.refusals import Answer, RefusedError
from tenfold.errors import did_you_mean
from tenfold.types import PixelArray

SCHEMA = 1
"""Version of the JSON that clients get."""

_DECODERS = 2
"""Threads that convert images, in addition to the one that computes."""

_MUCH = 2000
"""Guesses from which on an answer is written by another thread."""

T = TypeVar("T")


class Changes(NamedTuple):
    """How images are changed first; see `Classifier.pixels`."""

    invert: bool = False
    center: bool = False


NO_CHANGES = Changes()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client wants to know of its images.

    Attributes:
        top: number of guesses for each.
        changes: of the images, before anything else.
        seen: whether the answer has the pixels that the network got, as a picture.
        explain: whether it has a picture of what speaks for it and against it.
    """

    top: int = 3
    changes: Changes = NO_CHANGES
    seen: bool = False
    explain: bool = False

    def require_explainable(self, images: int) -> None:
        """Refuse to explain several images.

        Raises:
            RefusedError: that was asked for.
        """
        if self.explain and images > 1:
            raise RefusedError(
                422,
                f"explain is for one image at a time, but there are {images}",
                remedy="send each in a request of its own",
            )


def wanted_of(query: bytes, limits: Limits) -> Wanted:
    """What the query of an address asks for.

    Raises:
        RefusedError: a parameter is unknown, given twice, or out of range.
    """
    given = _parameters(query, {"top", *Changes._fields, "seen", "explain"})
    changes = _taken(given, Changes._fields)
    top = given.pop("top", "3")
    if not (top.isascii() and top.isdecimal() and len(top) < 6 and 1 <= int(top) <= limits.top):
        raise RefusedError(
            422,
            f"top is {top!r}, wanted a whole number, 1..{limits.top:,}",
            remedy="leave it out for the 3 most probable classes",
        )
    return Wanted(int(top), Changes(**changes), **_taken(given, ("seen", "explain")))


def changes_of(query: bytes) -> Changes:
    """What the query of an address asks for that may ask for changes alone.

    Raises:
        RefusedError: a parameter is unknown, given twice, or out of range.
    """
    return Changes(**_taken(_parameters(query, {*Changes._fields}), Changes._fields))


def facts_of(look: Look) -> dict[str, bool]:
    """How an image differs from the training images, as clients get it."""
    return {"inverted": look.is_inverted, "uncentered": look.is_uncentered}


def _taken(given: dict[str, str], names: Sequence[str]) -> dict[str, bool]:
    """The parameters of these names that are given."""
    return {name: _truth(name, given[name]) for name in names if name in given}


def _parameters(query: bytes, known: Set[str]) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=16)
    except ValueError:
        raise RefusedError(422, "the address has more than 16 parameters") from None
    given = dict(pairs)
    for name in given:
        if name not in known:
            raise RefusedError(
                422,
                f"there is no parameter {name!r}",
                remedy=did_you_mean(name, known),
            )
    if len(given) < len(pairs):
        raise RefusedError(422, "the address has the same parameter twice", remedy="give it once")
    return given


def _truth(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise RefusedError(
            422, f"{name} is {value!r}, wanted true or false", remedy="leave it out for false"
        )
    return value == "true"


class Answering:
    """Answers questions about images with one model.

    Args:
        classifier: the model.
        limits: the server's.
        observe: called with the number of images of each batch.

    Attributes:
        batcher: what computes.
    """

    def __init__(
        self, classifier: Classifier, limits: Limits, observe: Callable[[int], object]
    ) -> None:
        self._classifier, self._limits = classifier, limits
        self._background = classifier.bundle.header.background
        self.batcher = Batcher(self._judge, limits, observe)
        self._decoders = Pool(_DECODERS, limits.decodings, "images")
        self._explainer = Pool(1, limits.explanations, "explanations")

    @property
    def explanations(self) -> int:
        """Number of explanations that are computed or wait for it."""
        return self._explainer.calls

    def stop(self) -> None:
        """Finish what is being done, and end the threads."""
        self.batcher.stop()
        self._decoders.stop()
        self._explainer.stop()

    def warm_up(self) -> None:
        """Compute as much as ever at once, so that memory for it is there, or an error is known."""
        most = max(self._limits.batch, self._limits.images)
        self._classifier.logits(np.zeros((most, *self._classifier.bundle.input_shape), np.uint8))

    async def in_background(self, work: Callable[[], T], patience: Patience) -> T:
        """Call a function in one of the threads that convert images.

        Raises:
            RefusedError: too many wait for them, or this waited for too long.
            ClientGoneError: nobody waits for it any more.
        """
        return await self._decoders.call(work, patience)

    async def changed(self, pixels: PixelArray, changes: Changes, patience: Patience) -> PixelArray:
        """Raw pixels with these changes.

        Raises:
            RefusedError: too many wait for what changes them, or this waited for too long.
            UsageError: see `Classifier.pixels`.
            ClientGoneError: nobody waits for them any more.
        """

        def work() -> PixelArray:
            return self._classifier.pixels(pixels, **changes._asdict())

        return await self.in_background(work, patience) if changes.center else work()

    async def pixels(
        self, pictures: Sequence[Picture], changes: Changes, patience: Patience
    ) -> PixelArray:
        """Pictures as the model takes them.

        Raises:
            RefusedError: too many wait, these waited for too long, or they have too many pixels.
            UsageError: see `Classifier.pixels`.
            ClientGoneError: nobody waits for them any more.
            DataError: one cannot be read; names it.
        """
        if len(pictures) == 1 and not changes.center and is_quick(pictures[0].data):
            return self._decoded(pictures[0], changes)
        return await self.in_background(
            lambda: self._all_decoded(pictures, changes, patience), patience
        )

    async def answer(
        self, names: Sequence[str], pixels: PixelArray, wanted: Wanted, patience: Patience
    ) -> Answer:
        """The answer, written by another thread if it is long or has pictures.

        Args:
            names: of the images.
            pixels: the images, changed as is wanted.
            wanted: what to say of them.
            patience: with the request.

        Raises:
            RefusedError: too many wait, or these waited for too long.
            ClientGoneError: nobody waits for it any more.
        """
        judged = await self.batcher.judge(pixels, wanted.top)

        def written() -> Answer:
            return Answer(self._facts(names, pixels, judged, wanted))

        if wanted.explain:
            return await self._explainer.call(written, patience)
        if wanted.seen or wanted.top * len(names) > _MUCH:
            return await self.in_background(written, patience)
        return written()

    def _all_decoded(
        self, pictures: Sequence[Picture], changes: Changes, patience: Patience
    ) -> PixelArray:
        if len(pictures) > 1:
            self._require_few_pixels(pictures, patience)
        decoded = []
        for picture in pictures:
            patience.require()
            decoded.append(self._decoded(picture, changes))
        return np.concatenate(decoded)

    def _require_few_pixels(self, pictures: Sequence[Picture], patience: Patience) -> None:
        pixels, most = 0, self._limits.pixels
        for picture in pictures:
            patience.require()
            header = read_header(bytes(picture.data), picture.name)
            pixels += header.width * header.height
            if pixels > most:
                raise RefusedError(
                    413,
                    f"the images have more than {most:,} pixels together",
                    remedy="scale them down, or send them in several requests",
                )

    def _decoded(self, picture: Picture, changes: Changes) -> PixelArray:
        file = io.BytesIO(picture.data)
        file.name = picture.name  # which messages show
        return self._classifier.pixels(file, paths=False, **changes._asdict())

    def _judge(self, pixels: PixelArray, top: int) -> list[Judged]:
        logits = self._classifier.logits(pixels)
        looks = looks_of(pixels, self._background)
        guesses = self._classifier.guesses(logits, top)
        return [Judged(*each) for each in zip(guesses, looks, strict=True)]

    def _facts(
        self, names: Sequence[str], pixels: PixelArray, judged: Sequence[Judged], wanted: Wanted
    ) -> dict[str, Any]:
        predictions = []
        for name, image, found in zip(names, pixels, judged, strict=True):
            facts: dict[str, Any] = {
                "image": name,
                "top": [guess.to_dict() for guess in found.guesses],
                **facts_of(found.look.cropped if wanted.changes.center else found.look),
            }
            if wanted.seen:
                facts["seen"] = data_address(png_of(image_of(image)))
            if wanted.explain:
                strengths = occlusion_map(self._classifier, image[None], found.guesses[0].label)
                facts["explanation"] = data_address(png_of(explanation_image(strengths)))
            predictions.append(facts)
        return {"schema": SCHEMA, "predictions": predictions}
