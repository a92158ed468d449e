"""The whole check of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tenfold.data.checks.classes import find_in_classes
from tenfold.data.checks.duplicates import find_duplicates
from tenfold.data.checks.findings import KINDS, Finding, Located
from tenfold.data.checks.oddities import find_oddities
from tenfold.data.checks.shortcuts import find_shortcuts
from tenfold.data.corrections import NO_CORRECTIONS, Corrections
from tenfold.data.dataset import ImageDataset
from tenfold.data.load import ReadData, read_data
from tenfold.doctor.near_duplicates import MOST_IMAGES, SMALLEST_SIDE, find_near_duplicates
from tenfold.errors import (
    DataError,
    TrainingError,
    UsageError,
    counted,
    did_you_mean,
    encodable,
    listing,
    percent,
    printable,
)
from tenfold.recipes import Recipe
from tenfold.runs.reading import corrections_for, folder_options
from tenfold.runs.resources import USUAL, Resources, choose_device
from tenfold.training.watching import Watcher

LOW_AGREEMENT = 0.8
"""If models agree with a smaller share of labels, it is said what that may mean."""

SLOW = ("near-duplicates", "wrong-label")
"""Kinds of findings that a quick check does not look for."""

_MOST_NAMED = 3


@dataclass(frozen=True, repr=False)
class Checked:
    """The result of a check.

    Attributes:
        source: of the data.
        parts: the splits that were checked.
        findings: sorted by kind, and within a kind, those that matter most first.
        notes: on the data.
        unchecked: what could not be checked, and why.
        corrections: that were applied to the data before.
        accuracy: the share of labels that models agree with that were not trained on the images;
            None if labels were not checked.
        judged: number of images whose labels were checked.
    """

    source: str
    parts: Mapping[str, ImageDataset]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    unchecked: tuple[str, ...] = ()
    corrections: Corrections = NO_CORRECTIONS
    accuracy: float | None = None
    judged: int = 0

    def __repr__(self) -> str:
        return f"Checked({self.source!r}, {self.counts()})"

    def __str__(self) -> str:
        """What was found, in a few lines."""
        sizes = ", ".join(f"{split} {len(part):,}" for split, part in self.parts.items())
        lines = [f"{printable(self.source)}: {sizes}"]
        counts = self.counts()
        width = max((len(f"{n:,}") for n in counts.values()), default=0)
        for kind, n in counts.items():
            found = self.of_kind(kind)
            names = [printable(image.name) for image in found[0].images]
            images = {image for finding in found for image in finding.images}
            text = printable(found[0].text, 500)
            first = f"{listing(names, _MOST_NAMED)}: {text}" if names else text
            of = f" ({len(images):,} images)" if n < len(images) else ""
            lines.append(
                f"{n:>{width},}  {kind}: {first}"
                if n == 1
                else f"{n:>{width},}  {kind}{of}: such as {first}"
            )
        if not counts:
            lines.append("nothing was found")
        lines += [f"note: {printable(text, 2000)}" for text in self.unchecked]
        if self.accuracy is not None:
            lines.append(
                f"models that were not trained on them agree with {percent(self.accuracy)} of "
                f"{counted(self.judged, 'label')}"
            )
            if self.of_kind("wrong-label") and self.accuracy < LOW_AGREEMENT:
                lines.append(
                    "that is seldom: many labels are wrong, or the classes are hard to tell apart "
                    "and many suspects are right; the first are the likeliest to be wrong"
                )
        return "\n".join(lines)

    def of_kind(self, kind: str) -> list[Finding]:
        """The findings of a kind, in order."""
        return [finding for finding in self.findings if finding.kind == kind]

    def counts(self) -> dict[str, int]:
        """The number of findings of each kind that has some, in order."""
        counts = Counter(finding.kind for finding in self.findings)
        return {kind: counts[kind] for kind in KINDS if counts[kind]}


def require_kinds(kinds: Sequence[str]) -> None:
    """Refuse names that are no kinds of findings.

    Raises:
        UsageError: there is no such kind.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"there is no finding {kind!r}", remedy=did_you_mean(kind, KINDS))


def check_data(
    data: object,
    recipe: Recipe,
    *,
    quick: bool = False,
    ignore: Sequence[str] = (),
    resources: Resources = USUAL,
    watcher: Watcher | None = None,
) -> Checked:
    """Look for whatever may be wrong with a data set.

    Args:
        data: see `load_splits`.
        recipe: says how it is read; images that cannot be are findings.
        quick: look at pixels only: neither search for near duplicates nor train.
        ignore: kinds of findings that are not looked for.
        resources: what the trainings may use.
        watcher: gets the progress.

    Raises:
        UsageError: there is no such kind, or no such data.
        DataError: the data cannot be read.
    """
    require_kinds(ignore)
    resources.require_valid()
    watcher = watcher or Watcher()
    judges = not quick and "wrong-label" not in ignore
    if judges:
        choose_device(resources.device or "auto")  # before the data is read, which may take long
    read = read_data(
        data,
        data_root=resources.data_root,
        image_size=recipe.image_size,
        channels=recipe.channels,
        resize=recipe.resize,
        options=replace(folder_options(recipe), tells_bad=True),
        corrections=corrections_for(recipe),
        download=resources.download,
        listener=watcher,
    )
    corrections = read.corrections
    unchecked = []
    if left := [kind for kind in KINDS if kind in ignore or (quick and kind in SLOW)]:
        unchecked.append(f"not looked for: {listing(left)}")
    parts = sorted(read.parts.values(), key=lambda part: part.split != "train")
    first = parts[0]
    for part in parts[1:]:
        if (part.image_shape, part.classes) != (first.image_shape, first.classes):
            parts = [each for each in parts if each is not part]
            unchecked.append(
                f"{part.split} was not checked: its images or classes are not like those of "
                f"{first.split}"
            )
    findings = [*_unreadable(read), *_of_pixels(parts)]
    accuracy, judged = None, 0
    if not quick and "near-duplicates" not in ignore:
        if sum(map(len, parts)) > MOST_IMAGES:
            unchecked.append(
                f"near duplicates were searched among the first {MOST_IMAGES:,} images only"
            )
        if min(first.image_shape[1:]) < SMALLEST_SIDE:
            unchecked.append(
                f"near duplicates were not searched: images of {first.image_shape} are too small"
            )

        def tell(done: int, n: int) -> None:
            watcher.reading("comparing images", done, n)

        findings += find_near_duplicates(parts, tell)
    if judges:
        from tenfold.doctor.wrong_labels import judge_labels

        try:
            found = judge_labels(parts, resources=resources, watcher=watcher)
        except (DataError, TrainingError) as error:
            unchecked.append(f"labels were not checked: {error.message}")
        else:
            findings += _not_marked(found.findings, findings)
            accuracy, judged = found.accuracy, found.n
    order, looked_at = list(KINDS), {part.split: part for part in parts}
    wanted = [finding for finding in findings if finding.kind not in ignore]
    findings = [finding for finding in wanted if not corrections.keeps(finding)]
    if n := len(wanted) - len(findings):
        unchecked.append(
            f"{counted(n, 'finding')} {'is' if n == 1 else 'are'} left out because "
            f"{'it is' if n == 1 else 'they are'} decided in {corrections.place}"
        )
    findings.sort(key=lambda finding: order.index(finding.kind))
    return Checked(
        read.source,
        looked_at,
        tuple(_without_risky_marks(findings, parts, corrections)),
        read.notes,
        tuple(unchecked),
        corrections,
        accuracy,
        judged,
    )


def _without_risky_marks(
    findings: Sequence[Finding], parts: Sequence[ImageDataset], corrections: Corrections
) -> Iterator[Finding]:
    """The findings; none says that more than half of a class of a split can be deleted safely.

    Nor does one say so of an image that a person has decided about.
    """
    decided = corrections.new_labels.keys() | {each.image for each in corrections.kept}
    sizes = {
        (part.split, name): n
        for part in parts
        for name, n in zip(part.classes, part.class_counts().tolist(), strict=True)
    }
    marked = Counter(
        (image.split, image.label)
        for image in {
            image
            for finding in findings
            for image, delete in zip(finding.images, finding.delete, strict=True)
            if delete
        }
    )
    for finding in findings:
        delete = tuple(
            mark
            and image.name not in decided
            and (image.index is None or 2 * marked[key] <= sizes[key])
            for image, mark in zip(finding.images, finding.delete, strict=True)
            for key in [(image.split, image.label)]
        )
        yield replace(finding, delete=delete)


def _not_marked(findings: Sequence[Finding], others: Sequence[Finding]) -> Iterator[Finding]:
    """Those on images that no other finding says can be deleted."""
    marked = {
        image
        for finding in others
        for image, delete in zip(finding.images, finding.delete, strict=True)
        if delete
    }
    return (finding for finding in findings if marked.isdisjoint(finding.images))


def _unreadable(read: ReadData) -> Iterator[Finding]:
    """Files that cannot be read, unless they were deleted by corrections."""
    for name, reason in sorted(read.skipped.items()):
        if encodable(name) in read.corrections.deleted:
            continue
        yield Finding("unreadable", reason, (Located(encodable(name), "", ""),), (True,))


def _of_pixels(parts: Sequence[ImageDataset]) -> list[Finding]:
    return [
        *find_in_classes(parts),
        *find_duplicates(parts),
        *sorted(find_oddities(parts), key=lambda finding: finding.score or 0.0),
        *find_shortcuts(parts[0]),
    ]
