"""Notes on images that are unlike those that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass, field

from tenfold.deployment.background import IN_WORDS, Background, opposite
from tenfold.deployment.looks import Look

_MOST_NAMED = 3

USUAL = 0.01
"""Share of images from a data set itself, at most, that differ in size or place."""


@dataclass
class _Some:
    """How many images there are of a kind, and the names of the first."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < _MOST_NAMED:
            self.names.append(name)


class Differences:
    """Counts the images that are unlike the training images.

    Args:
        background: what the training images have around their subjects; None if it is not known.
        invert: whether the images are negatives of what was given, or of what was cropped from it.
        center: whether they were cropped to their subjects, which inverts them if need be.
    """

    def __init__(
        self, background: Background | None, *, invert: bool = False, center: bool = False
    ) -> None:
        self._background, self._invert, self._center = background, invert, center
        self._count = 0
        self._inverted, self._uncentered = _Some(), _Some()
        self._is_any_unlike = False  # in more than size and place, as an image of a data set may be

    def add(self, name: str, look: Look) -> None:
        """Count an image."""
        self._count += 1
        if look.is_uncentered:
            self._uncentered.add(name)
            self._is_any_unlike |= look.is_inverted
        elif look.is_inverted:
            self._inverted.add(name)

    def notes(self, invert: str = "--invert", center: str = "--center") -> list[str]:
        """A sentence for each way in which images differ; none if none do.

        Args:
            invert: what asks for negatives.
            center: what asks for cropping.
        """
        notes = []
        if self._inverted.count and self._background is not None:
            shade = self._background.shade
            trained, found = IN_WORDS[shade], IN_WORDS[opposite(shade)]
            found += f" after {invert}" if self._invert else ""
            notes.append(
                f"{self._those(self._inverted)} {'is' if self._inverted.count == 1 else 'are'} "
                f"{found}, but the model was trained on {trained}, so the answers may be wrong; "
                f"{f'leave out {invert}' if self._invert else f'{invert} classifies the negatives'}"
            )
        those, is_one = self._those(self._uncentered), self._uncentered.count == 1
        if self._uncentered.count and self._center:
            notes.append(
                f"{those} {'has' if is_one else 'have'} nothing that stands out as the subjects of "
                "the training images do, so the answers mean little"
            )
        elif self._uncentered.count > USUAL * self._count or self._is_any_unlike:
            notes.append(
                f"{those} {'has' if is_one else 'have'} a smaller, larger or fainter subject than "
                "the training images, or one that is off-center or on another background, so the "
                f"answers may be wrong; {center} crops to the subject and makes it like theirs"
            )
        return notes

    def _those(self, some: _Some) -> str:
        """Some of the images as the subject of a sentence."""
        if self._count == 1:
            return "the image"
        if some.count == self._count:
            return f"all {some.count:,} images"
        names = ", ".join(some.names)
        if (left := some.count - len(some.names)) > 0:
            names = f"{names} and {left:,} more"
        return f"{some.count:,} of {self._count:,} images ({names})"
