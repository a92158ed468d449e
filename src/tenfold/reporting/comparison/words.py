"""What a comparison says, in sentences and cells that the text and the page have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.errors import counted, printable
from tenfold.evaluation.comparing import Paired, Welch
from tenfold.runs.comparing import Candidate, Comparison, Contrast
from tenfold.runs.groups import seeds_text

CHANCE = 0.05
"""Up to this p-value, a difference is called more than chance explains."""

SMALLEST_P = 0.0001
"""Smaller ones are not told apart."""

MISSING = "-"
"""In a cell without a value."""

LONGEST_VALUE = 60

NAMES = {"train": "training", "val": "validation", "test": "test"}
"""The splits in words."""

OF_ONE = (
    "The interval of a single run is Wilson's: where the accuracy of this model may lie on other "
    "images of the same kind."
)
OF_SEVERAL = (
    "Figures of several seeds are means, and their interval is Student's t: where the mean over "
    "other seeds may lie, on the same test images."
)
OF_MCNEMAR = (
    "The exact McNemar test: p is the probability that the images that only one of two models gets "
    "right are divided at least as unevenly, if both are equally good. It is about these trained "
    "models. It does not say that a recipe is better, because with another seed each could have "
    "come out differently: compare several seeds for that (train --seeds)."
)
OF_WELCH = (
    "Welch's t test: p is the probability that two means are at least as far apart, if both "
    "recipes are equally good. It is about other seeds. It does not say how other test images "
    "would turn out, because all runs were tested on the same ones."
)
OF_HOLM = (
    "Each is compared with {first}, because it was named first. With several tests, some differ by "
    "chance alone; Holm's correction makes up for that."
)


DIVIDED = "The {} are divided by the seed."


def shown(value: object) -> str:
    """A value of a recipe in a cell."""
    if value is None or value == "":
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return printable(", ".join(map(shown, value)), LONGEST_VALUE)
    return printable(value, LONGEST_VALUE)


def described(candidate: Candidate) -> str:
    """Where a candidate is, and which runs it has."""
    if len(candidate.runs) == 1:
        return candidate.place
    n, ended = len(candidate.runs), len(candidate.ended)
    said = f"{candidate.place}, {n} runs with the seeds {seeds_text(candidate.seeds)}"
    if ended == n:
        return said
    return f"{said}, of which {counted(ended, 'run')} {'has' if ended == 1 else 'have'} figures"


def figure_cells(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of the table of figures, the name of each candidate first."""
    rows = {each.name: _cells(each) for each in comparison.candidates}
    headings = [
        heading
        for heading in next(iter(rows.values()))
        if any(cells[heading] != MISSING for cells in rows.values())
    ]
    return ["", *headings], [
        [name, *(cells[heading] for heading in headings)] for name, cells in rows.items()
    ]


def _cells(candidate: Candidate) -> dict[str, str]:
    figures, over_seeds = candidate.figures, candidate.summaries
    n = figures.get("n_test")
    return {
        "val_acc": _share(figures.get("val_acc")),
        "test_acc": _share(figures.get("test_acc")),
        "deviation": _share(over_seeds["test_acc"].deviation) if "test_acc" in over_seeds else "-",
        "95 % interval": MISSING if candidate.interval is None else between(candidate.interval),
        "n": f"{n:,}" if n else MISSING,
        "epochs": _epochs(candidate),
        "seconds": f"{figures['seconds']:,.1f}" if figures else MISSING,
        "parameters": f"{candidate.runs[0].facts.parameters:,}",
    }


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4f}"


def _epochs(candidate: Candidate) -> str:
    done = sorted({len(run.history) for run in candidate.runs})
    return f"{done[0]}" if len(done) == 1 else f"{done[0]} to {done[-1]}"


def between(interval: tuple[float, float]) -> str:
    """An interval of accuracies, or of their difference."""
    return f"{interval[0]:.4f} to {interval[1]:.4f}"


def explanations(comparison: Comparison) -> list[str]:
    """What the intervals mean that the table has."""
    with_interval = [each for each in comparison.candidates if each.interval is not None]
    sentences = []
    if any(len(each.ended) == 1 for each in with_interval):
        sentences.append(OF_ONE)
    if any(len(each.ended) > 1 for each in comparison.candidates):
        sentences.append(OF_SEVERAL)
    return sentences


def data_sentences(comparison: Comparison) -> list[str]:
    """Which candidates have the same images."""
    names = [each.name for each in comparison.candidates]
    if len(names) == 1:
        return []
    splits_of: dict[str, list[str]] = {}
    for split, same in comparison.data.items():
        if split in comparison.divided:
            splits_of.setdefault(DIVIDED, []).append(NAMES[split])
        elif same:
            splits_of.setdefault(_alike(names, same), []).append(NAMES[split])
    return [
        sentence.format(together(splits) + " images and labels")
        for sentence, splits in splits_of.items()
    ]


def _alike(names: Sequence[str], same: Sequence[Sequence[str]]) -> str:
    """A sentence about some splits, with a place for their names."""
    if list(same) == [names]:
        return f"{together(names)} have the same {{}}."
    if [len(each) for each in same] == [1]:
        return f"Only {same[0][0]} has any {{}}."
    parts = [f"{together(each)} have the same" for each in same if len(each) > 1]
    others = [each[0] for each in same if len(each) == 1]
    missing = [name for name in names if not any(name in each for each in same)]
    if others:
        different = "others" if parts else "different ones"
        parts.append(f"{together(others)} {'has' if len(others) == 1 else 'have'} {different}")
    if missing:
        parts.append(f"{together(missing)} {'has' if len(missing) == 1 else 'have'} none")
    return f"Of the {{}}, {', '.join(parts)}."


def together(names: Sequence[str]) -> str:
    """Names in a sentence: `A`, `A and B`, `A, B and C`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def contrast_sentences(comparison: Comparison) -> list[str]:
    """What each test found, or why there is none."""
    tests = sum(test.result is not None for test in comparison.tests)
    return [_contrast_sentence(test, tests) for test in comparison.tests]


def _contrast_sentence(test: Contrast, tests: int) -> str:
    """What a test found, or why there is none.

    Args:
        test: the pair of candidates.
        tests: how many pairs are tested.
    """
    first, second = test.first, test.second
    match test.result:
        case Paired() as found:
            return (
                f"{first} is right on {counted(found.first_only, 'image')} where {second} is "
                f"wrong, {second} on {found.second_only:,} where {first} is wrong, of the same "
                f"{found.n:,}: {_p_values(test, tests)}. {_difference(test, found)}"
            )
        case Welch() as found:
            return (
                f"The means of {first} and {second} over their seeds, with {found.degrees:.1f} "
                f"degrees of freedom: {_p_values(test, tests)}. {_difference(test, found)}"
            )
    return f"{first} and {second} are not tested: {test.why_not}."


def _p_values(test: Contrast, tests: int) -> str:
    assert test.result is not None
    assert test.corrected is not None
    said = _p(test.result.p)
    if tests > 1:
        said += f" ({_p(test.corrected)} after correction for {tests} tests)"
    return f"{said}, {_verdict(test.corrected)}"


def _verdict(p: float) -> str:
    return "more than chance explains" if p <= CHANCE else "which chance may explain"


def _p(value: float) -> str:
    if value < SMALLEST_P:
        return f"p < {SMALLEST_P}"
    if value >= 0.095:
        return f"p = {value:.2f}"
    texts = (f"{value:.{digits}g}" for digits in range(2, 18))
    return f"p = {next(text for text in texts if float(text) != CHANCE or value == CHANCE)}"


def _difference(test: Contrast, found: Paired | Welch) -> str:
    low, high = found.interval
    return (
        f"The test accuracy of {test.second} minus that of {test.first} is "
        f"{found.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})."
    )


def contrast_explanations(comparison: Comparison) -> list[str]:
    """What the tests mean that there are, and what they do not say."""
    results = [test.result for test in comparison.tests if test.result is not None]
    sentences = []
    if any(isinstance(result, Paired) for result in results):
        sentences.append(OF_MCNEMAR)
    if any(isinstance(result, Welch) for result in results):
        sentences.append(OF_WELCH)
    if len(results) > 1:
        sentences.append(OF_HOLM.format(first=comparison.candidates[0].name))
    return sentences


def difference_cells(
    comparison: Comparison, differing: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[list[str]]]:
    """The headings and rows of a table of what differs: keys, then a value for each candidate."""
    names = [each.name for each in comparison.candidates]
    return ["", *names], [
        [printable(key, LONGEST_VALUE), *(shown(values[name]) for name in names)]
        for key, values in differing.items()
    ]
