"""Why a classifier gives an answer: what it saw, what spoke for it, and what is like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from tenfold.data.dataset import ImageDataset
from tenfold.deployment.classifier import Classifier, Guess, images_at_once
from tenfold.deployment.explaining import occlusion_map
from tenfold.deployment.features import nearest_images
from tenfold.deployment.inputs import ImageInputs
from tenfold.errors import UsageError, did_you_mean, percent, printable
from tenfold.listening import Listener
from tenfold.reporting.terminal import as_typed
from tenfold.types import PixelArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:
    Figure = Any


_SHOWN = 8
"""Maximum number of classes in an explanation."""


@dataclass(frozen=True)
class Neighbor:
    """A training image that is like an image to the network.

    Attributes:
        index: in the training split.
        image: its name.
        label: the name of its class.
        likeness: the cosine of the angle between their last features, -1..1.
    """

    index: int
    image: str
    label: str
    likeness: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a classifier gives an answer for one image.

    Attributes:
        guesses: the most probable classes, and the one that is explained; most probable first.
        label: the index of the class that is explained, by default the answer.
        name: the name of that class.
        pixels: the image as the network got it, n = 1.
        evidence: how much each part of it speaks for the class; see `occlusion_map`.
        neighbors: the training images that are most like it to the network.
        train: the training images; None if they were not looked at.
    """

    guesses: tuple[Guess, ...]
    label: int
    name: str
    pixels: PixelArray
    evidence: Float32[np.ndarray, "height width"]
    neighbors: Sequence[Neighbor] = ()
    train: ImageDataset | None = None

    @cached_property
    def is_training_image(self) -> bool | None:
        """Whether the image is, pixel for pixel, one of the training images; None if unknown."""
        if self.train is None:
            return None
        images, at_once = self.train.image_array, images_at_once(self.train.image_shape)
        return any(
            (images[start : start + at_once] == self.pixels).all(axis=(1, 2, 3)).any()
            for start in range(0, len(images), at_once)
        )

    def figure(self) -> Figure:
        """All of it as one figure."""
        from tenfold.reporting.network_plots import explanation_figure

        neighbors = []
        if self.train is not None:
            for each in self.neighbors:
                image = self.train.image_array[each.index : each.index + 1]
                neighbors.append((image, f"{each.label}  {each.likeness:.2f}"))
        return explanation_figure(self.pixels, self.evidence, self.name, self.guesses, neighbors)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the images."""
        return {
            "top": [guess.to_dict() for guess in self.guesses],
            "explained": self.name,
            "evidence": self.evidence.astype(float).round(4).tolist(),
            "is_training_image": self.is_training_image,
            "nearest": [asdict(neighbor) for neighbor in self.neighbors],
        }


def explain(
    classifier: Classifier,
    image: ImageInputs,
    *,
    label: str | None = None,
    train: ImageDataset | None = None,
    neighbors: int = 8,
    invert: bool = False,
    center: bool = False,
    listener: Listener | None = None,
) -> Explanation:
    """Explain the answer for one image.

    Args:
        classifier: the model.
        image: one image, of any kind that `Classifier.predict` takes.
        label: the name of the class to explain; None for the answer.
        train: the training images, to find those that are like it; None to leave that out.
        neighbors: how many of them.
        invert: see `Classifier.pixels`.
        center: see `Classifier.pixels`.
        listener: gets the progress.

    Raises:
        UsageError: there is no such class, or more than one image.
        DataError: the image cannot be read.
    """
    pixels = classifier.pixels(image, invert=invert, center=center)
    if len(pixels) != 1:
        raise UsageError(f"explain: found {len(pixels):,} images, wanted one")
    (guesses,) = classifier.guesses(classifier.logits(pixels), len(classifier.classes))
    if label is not None and label not in classifier.classes:
        raise UsageError(
            f"explain: there is no class {label!r}",
            remedy=did_you_mean(label, classifier.classes),
        )
    place = guesses[0].label if label is None else classifier.classes.index(label)
    found: Sequence[Neighbor] = ()
    if train is not None and neighbors:
        found = [
            Neighbor(
                index=index,
                image=f"train image {index}" if train.names is None else train.names[index],
                label=train.classes[int(train.label_array[index])],
                likeness=likeness,
            )
            for index, likeness in nearest_images(classifier, pixels, train, neighbors, listener)
        ]
    explained = next(guess for guess in guesses if guess.label == place)
    shown = guesses[:_SHOWN]
    return Explanation(
        guesses=shown if explained in shown else (*shown[:-1], explained),
        label=place,
        name=classifier.classes[place],
        pixels=pixels,
        evidence=occlusion_map(classifier, pixels, place),
        neighbors=found,
        train=train,
    )


def explanation_text(explanation: Explanation, picture: Path) -> str:
    """The answer, what is like it, and where the figure is, for a terminal."""
    first = explanation.guesses[0]
    lines = [f"answer     {printable(first.name)} ({percent(first.probability)})"]
    others = ", ".join(
        f"{printable(g.name)} {percent(g.probability)}" for g in explanation.guesses[1:4]
    )
    if others:
        lines.append(f"otherwise  {others}")
    if explanation.name != first.name:
        probability = next(
            g.probability for g in explanation.guesses if g.label == explanation.label
        )
        lines.append(f"explained  {printable(explanation.name)} ({percent(probability)})")
    if explanation.is_training_image:
        lines.append("           the network was trained on this image")
    for number, each in enumerate(explanation.neighbors):
        like = f"{printable(each.image)}: {printable(each.label)} ({each.likeness:.3f})"
        lines.append(f"           {like}" if number else f"most like  {like}")
    return "\n".join([*lines, f"picture    {printable(as_typed(picture))}"])
