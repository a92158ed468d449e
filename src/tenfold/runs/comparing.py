"""Runs side by side: figures, differences, and tests. Importing this does not import PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, product, starmap
from pathlib import Path
from typing import Any

from tenfold.errors import DataError, TenfoldError, UsageError, counted, listing, printable
from tenfold.evaluation.comparing import (
    SHARES_APART,
    Paired,
    Summary,
    Welch,
    holm,
    paired,
    welch,
)
from tenfold.listening import Listener
from tenfold.paths import is_file
from tenfold.runs.facts import RunFacts
from tenfold.runs.folder import RunFolder, existing_run
from tenfold.runs.groups import (
    BATCH,
    GroupFolder,
    differing_keys,
    require_recipe,
    seed_of,
    seeds_text,
    summaries,
)
from tenfold.runs.predicted import Predictions, predictions_of
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run, open_run
from tenfold.types import ImageShape

TESTED = "test_acc"
"""The figure whose means are compared between groups."""

INTERVAL = "test_interval"
"""That of a single run, which says nothing of the mean of several."""

DIVISIBLE = ("train", "val")
"""The splits that the seed may divide the same images into."""

CONDITIONS = ("engine", "device", "threads", "instructions", "torch", "tenfold")
"""The conditions of a run that are compared."""


@dataclass(frozen=True)
class Candidate:
    """One of the things that are compared: a run, or runs that differ only in their seeds.

    Attributes:
        name: a letter.
        place: the run's folder or the group's as it was named, or of several, the first ones.
        runs: one or more.
        resume: of a group, the command that finishes it.
        not_begun: number of runs of a group that are not there yet.
    """

    name: str
    place: str
    runs: tuple[Run, ...]
    resume: str = ""
    not_begun: int = 0

    @property
    def ended(self) -> tuple[Run, ...]:
        """The runs that have figures."""
        return tuple(filter(_ended, self.runs))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all runs."""
        return tuple(map(seed_of, self.runs))

    @cached_property
    def key(self) -> str:
        """What runs have in common that differ only in their seeds, but for the size of a batch."""
        return _key(self.runs[0])

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """Mean, deviation and interval of the figures; empty for fewer than two runs."""
        return summaries([run.figures for run in self.ended])

    @property
    def figures(self) -> dict[str, Any]:
        """Those of the run; of several, the means, and what they have in common; empty without."""
        if not self.ended:
            return {}
        first, *others = [run.figures for run in self.ended]
        if not others:
            return first
        common = {
            key: value
            for key, value in first.items()
            if all(key in figures and figures[key] == value for figures in others)
            and key != INTERVAL
        }
        return {**common, **{name: found.mean for name, found in self.summaries.items()}}

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the test accuracy: Wilson's of a run, Student's t of several; None without one."""
        if TESTED in self.summaries:
            return self.summaries[TESTED].interval
        found = self.figures.get(INTERVAL)
        return None if found is None else (found[0], found[1])

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "name": self.name,
            "place": self.place,
            "seeds": list(self.seeds),
            "runs": [str(run.folder) for run in self.runs],
            "status": [run.status for run in self.runs],
            "parameters": self.runs[0].facts.parameters,
            "figures": self.figures,
            "interval": None if self.interval is None else list(self.interval),
            "summaries": {name: found.to_dict() for name, found in self.summaries.items()},
        }


@dataclass(frozen=True)
class Contrast:
    """Two candidates, and the test between them if there is one.

    Attributes:
        first: name of the one that is compared with.
        second: name of the other one.
        result: of McNemar's test between two runs, or of Welch's between two groups; None without.
        why_not: why there is no test; empty if there is one.
        corrected: the p-value after Holm's correction for all tests of the comparison.
    """

    first: str
    second: str
    result: Paired | Welch | None = None
    why_not: str = ""
    corrected: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        common = {"first": self.first, "second": self.second}
        if self.result is None:
            return {**common, "test": None, "why_not": self.why_not}
        kind = "mcnemar" if isinstance(self.result, Paired) else "welch"
        found = {**vars(self.result), "interval": list(self.result.interval)}
        return {**common, "test": kind, **found, "p_corrected": self.corrected}


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        candidates: two or more, or one of several seeds; the first is what others are compared
            with.
        recipes: the keys of recipes that differ, and their values by candidate.
        conditions: the same for device, engine and versions.
        data: for each split, the candidates that have the same images and labels, together.
        divided: the splits that differ between the runs of a candidate, because their seeds divide
            the same images in different ways.
        tests: of each other candidate with the first.
        notes: what else there is to know, one sentence each.
    """

    candidates: tuple[Candidate, ...]
    recipes: Mapping[str, Mapping[str, Any]]
    conditions: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, list[list[str]]]
    divided: tuple[str, ...] = ()
    tests: tuple[Contrast, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "recipes": {key: dict(values) for key, values in self.recipes.items()},
            "conditions": {key: dict(values) for key, values in self.conditions.items()},
            "data": {split: [list(names) for names in same] for split, same in self.data.items()},
            "divided_by_seed": list(self.divided),
            "tests": [test.to_dict() for test in self.tests],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        return f"Comparison({', '.join(each.place for each in self.candidates)})"


def compare_runs(
    places: Sequence[Path], *, resources: Resources = USUAL, listener: Listener | None = None
) -> Comparison:
    """Put runs side by side, and test whether they differ from the first.

    Runs that differ only in their seeds are taken together. Two runs with the same test images are
    compared image by image, two groups by the means of their test accuracies.

    Args:
        places: folders of runs, or of groups, which count as their runs.
        resources: what an evaluation may use, if a run's predictions have to be computed again.
        listener: gets the progress of long reads.

    Raises:
        UsageError: there are fewer than two runs.
        FileRefusedError: one of them is damaged, or not a run.
    """
    notes: list[str] = []
    opened = list(_opened(places, notes))
    n = sum(len(each.runs) for each in opened)
    if n < 2:
        message = "; ".join([f"{counted(n, 'run')} to compare, wanted two or more", *notes])
        raise UsageError(message, remedy="list the runs with: tenfold runs")
    candidates = _candidates(opened)
    notes += [_unfinished(run, each) for each in opened for run in each.runs if not _ended(run)]
    notes += _repetitions(candidates)
    tests = _tests(candidates, resources, listener or Listener())
    if len(candidates) == 1:
        notes.append(
            "all runs differ only in their seeds, so there is nothing to test: the differences "
            "between them are chance"
        )
    return Comparison(
        tuple(candidates),
        recipes=_differing(candidates, _recipe_of),
        conditions=_differing(candidates, _conditions_of),
        data=_same_data(candidates),
        divided=_divided(candidates),
        tests=_corrected(tests),
        notes=tuple(notes),
    )


def _opened(places: Sequence[Path], notes: list[str]) -> Iterator[Candidate]:
    """What is in these folders, each run once; without names yet."""
    known: set[Path] = set()
    for place in places:
        group = GroupFolder(place)
        runs = _runs_of(group, notes) if group.is_there else [open_run(existing_run(place).path)]
        new = [run for run in runs if run.folder.resolve() not in known]
        notes += [
            f"{printable(run.folder)} was named twice, and counts once"
            for run in runs
            if run not in new
        ]
        known |= {run.folder.resolve() for run in new}
        if not new:
            continue
        if group.is_there:
            seeds = group.read_facts().seeds
            resume = group.folder.command("resume")
            yield Candidate("", printable(place), tuple(new), resume, len(seeds) - len(runs))
        else:
            yield Candidate("", printable(place), tuple(new))


def _runs_of(group: GroupFolder, notes: list[str]) -> list[Run]:
    """The runs of a group that have begun.

    Raises:
        FileRefusedError: one is damaged, or differs from the others in more than its seed.
    """
    facts, runs = group.read_facts(), list[Run]()
    for seed in facts.seeds:
        folder = group.run_of(seed)
        if is_file(folder.facts):
            runs.append(open_run(folder.path))
            require_recipe(runs[-1], group, facts, seed)
        else:
            resume = group.folder.command("resume")
            notes.append(
                f"{group}: the run with seed {seed} has not begun; train it with: {resume}"
            )
    return runs


def _candidates(opened: Sequence[Candidate]) -> list[Candidate]:
    """What differs only in seeds together, in the order in which it was named."""
    order: list[list[Candidate]] = []
    for each in opened:
        for together in order:
            known = {seed for other in together for seed in other.seeds}
            if known.isdisjoint(each.seeds) and all(_are_alike(other, each) for other in together):
                together.append(each)
                break
        else:  # also for what has a seed that is there already: a repetition is no new seed
            order.append([each])
    return [
        Candidate(
            _letters(number),
            _place(together),
            tuple(run for each in together for run in each.runs),
            next((each.resume for each in together if each.resume), ""),
            sum(each.not_begun for each in together),
        )
        for number, together in enumerate(order)
    ]


def _repetitions(candidates: Sequence[Candidate]) -> Iterator[str]:
    """A note for each candidate that has the recipe and a seed of an earlier one."""
    for number, each in enumerate(candidates):
        for earlier in candidates[:number]:
            if _are_alike(earlier, each) and not set(earlier.seeds).isdisjoint(each.seeds):
                yield (
                    f"{each.name} has the recipe and a seed of {earlier.name}, so it is a "
                    "repetition, and is not taken together with it"
                )
                break


def _are_alike(one: Candidate, other: Candidate) -> bool:
    """Whether the runs of two candidates differ only in their seeds."""
    first, second = one.runs[0].facts, other.runs[0].facts
    return (
        one.key == other.key
        and not differing_keys(first.context.recipe, first.data, second.context.recipe, second.data)
        and _may_have_the_same_images(one, other)
    )


def _may_have_the_same_images(one: Candidate, other: Candidate) -> bool:
    """Whether runs may be on the same images, which only their seeds divide in different ways.

    The seed has no part in it if two runs have the same training or validation images, or none of
    these: then the others must be the same, too.
    """
    for first, second in product(one.runs, other.runs):
        mine, others = (_held_in(run) for run in (first, second))
        is_comparable = seed_of(first) == seed_of(second) or any(
            mine[split] == others[split] for split in DIVISIBLE
        )
        if is_comparable and mine != others:
            return False
    return True


def _held_in(run: Run) -> dict[str, str | None]:
    """The fingerprints of the splits that a seed may divide."""
    return {split: run.facts.context.data.get(split) for split in DIVISIBLE}


def _key(run: Run) -> str:
    facts = run.facts
    n, recipe = facts.data.n, facts.context.recipe
    common = {
        "recipe": {key: recipe[key] for key in recipe if key not in ("seed", BATCH)},
        "source": facts.data.source,
        "classes": facts.data.classes,
        "images": _n_divided(facts),
        "added": None if facts.data.added is None else facts.data.added.fingerprint,
        "test": [n.get("test"), facts.context.data.get("test")],
        "start": None if facts.start is None else facts.start.sha256,
        "engine": [facts.conditions.engine, facts.conditions.device_kind],
    }
    return json.dumps(common, sort_keys=True)


def _place(together: Sequence[Candidate]) -> str:
    return listing([each.place for each in together], limit=3)


def _letters(number: int) -> str:
    """`A` to `Z`, then `AA` and so on."""
    rest, last = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)


def _ended(run: Run) -> bool:
    """Whether a run has figures."""
    return run.facts.figures is not None


def _unfinished(run: Run, candidate: Candidate) -> str:
    why = f"{run.status}: {run.facts.failure}" if run.facts.failure is not None else run.status
    said = f"{printable(run.folder)} has no final figures (status: {why})"
    if run.status in ("running", "failed"):  # which would fail again
        return said
    resume = candidate.resume or RunFolder(run.folder).command("resume")
    return f"{said}; finish it with: {resume}"


# --- what differs -----------------------------------------------------------------------------


def _recipe_of(candidate: Candidate) -> dict[str, Any]:
    facts = candidate.runs[0].facts
    flat = dict(_flat(facts.context.recipe))
    flat["seed"] = seeds_text(candidate.seeds)
    flat["data"] = facts.data.source
    if added := facts.data.added:
        flat["add"] = f"{counted(facts.data.n_added, 'image')} from {added.place}"
    return flat


def _conditions_of(candidate: Candidate) -> dict[str, Any]:
    """Those of its runs; where they are not the same for all, a list of what there is."""
    found = [run.facts.conditions.model_dump() for run in candidate.runs]
    values = {key: list(dict.fromkeys(each[key] for each in found)) for key in CONDITIONS}
    return {key: each[0] if len(each) == 1 else each for key, each in values.items()}


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _differing(
    candidates: Sequence[Candidate], facts_of: Callable[[Candidate], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The keys whose values are not the same for all; a value that is missing is None."""
    found = {each.name: facts_of(each) for each in candidates}
    keys = dict.fromkeys(key for facts in found.values() for key in facts)
    table = {key: {name: facts.get(key) for name, facts in found.items()} for key in keys}
    return {
        key: values
        for key, values in sorted(table.items())
        if any(value != next(iter(values.values())) for value in values.values())
    }


def _same_data(candidates: Sequence[Candidate]) -> dict[str, list[list[str]]]:
    """For each split, the names of the candidates that have the same one, together."""
    same: dict[str, list[list[str]]] = {}
    for split in ("train", "val", "test"):
        by_images: dict[frozenset[str], list[str]] = {}
        for each in candidates:
            prints = (run.facts.context.data.get(split) for run in each.runs)
            if images := frozenset(found for found in prints if found is not None):
                by_images.setdefault(images, []).append(each.name)
        same[split] = list(by_images.values())
    return same


def _divided(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """The splits that depend on the seed; none if the candidates are not on the same images."""
    runs = [run for each in candidates for run in each.runs]
    several = [each for each in candidates if len(each.runs) > 1]
    if not several or any(starmap(_have_other_images, combinations(candidates, 2))):
        return ()
    return tuple(
        split
        for split in DIVISIBLE
        if all(split in run.facts.context.data for run in runs)
        and all(len({_held_in(run)[split] for run in each.runs}) > 1 for each in several)
    )


def _have_other_images(one: Candidate, other: Candidate) -> bool:
    """Whether two candidates are certainly not on the same images, however these are divided."""
    first, second = one.runs[0].facts, other.runs[0].facts
    if first.data.source != second.data.source or _n_divided(first) != _n_divided(second):
        return True
    return first.context.recipe.get("val") == second.context.recipe.get(
        "val"
    ) and not _may_have_the_same_images(one, other)


def _n_divided(facts: RunFacts) -> int:
    """Number of images in the splits that a seed may divide."""
    return sum(facts.data.n.get(split, 0) for split in DIVISIBLE)


# --- tests ------------------------------------------------------------------------------------


def _tests(
    candidates: Sequence[Candidate], resources: Resources, listener: Listener
) -> list[Contrast]:
    first, *others = candidates
    known: dict[str, Predictions | str] = {}

    def predictions(candidate: Candidate) -> Predictions | str:
        """Those of a candidate's run, or why there are none."""
        if candidate.name not in known:
            try:
                known[candidate.name] = predictions_of(
                    candidate.ended[0], resources=resources, listener=listener
                )
            except (DataError, UsageError) as error:
                again = _write_predictions(candidate.ended[0])
                known[candidate.name] = f"{error.message}; {again}"
            except TenfoldError as error:
                known[candidate.name] = str(error)
        return known[candidate.name]

    def tested(other: Candidate) -> Contrast:
        pair = Contrast(first.name, other.name)
        if why_not := _why_not(first, other):
            return replace(pair, why_not=why_not)
        if len(first.ended) > 1:
            one, two = ([run.figures[TESTED] for run in each.ended] for each in (first, other))
            return replace(pair, result=welch(one, two, SHARES_APART))
        answers, others = predictions(first), predictions(other)
        if isinstance(answers, str) or isinstance(others, str):
            why_not = answers if isinstance(answers, str) else str(others)
            return replace(pair, why_not=why_not)
        if answers.true.tolist() != others.true.tolist():
            return replace(pair, why_not="their predictions are of other images")
        return replace(pair, result=paired(answers.correct, others.correct))

    return [tested(other) for other in others]


def _write_predictions(run: Run) -> str:
    """How a run's predictions are written again if its data is not where it was."""
    folder = RunFolder(run.folder)
    if run.facts.data.can_be_reopened:
        again = folder.command("report", "--data", "PLACE")
        return f"write its predictions again with the same data: {again}"
    return f"write its predictions again in Python: tenfold.report({str(folder)!r}, data)"


def _why_not(first: Candidate, other: Candidate) -> str:
    """Why two candidates cannot be tested; empty if they can."""
    for each in (first, other):
        if not each.ended:
            return f"{each.name} has no final figures"
        if any(run.figures.get(TESTED) is None for run in each.ended):
            return f"{each.name} has no test images"
    return _tested_on_others(first, other) or _too_few(first, other)


def _tested_on_others(first: Candidate, other: Candidate) -> str:
    """How the test images of two candidates differ; empty if they do not."""
    one, two = (each.ended[0].facts for each in (first, other))
    if one.data.classes == two.data.classes:
        if one.context.data.get("test") == two.context.data.get("test"):
            return ""
        shapes = [ImageShape(*facts.data.image_shape) for facts in (one, two)]
        if one.data.source == two.data.source and shapes[0] != shapes[1]:
            in_words = map(_size if shapes[0].channels == shapes[1].channels else str, shapes)
            return "they were tested on the same source, but on images of " + " and ".join(in_words)
    return "they were tested on different images"


def _size(shape: ImageShape) -> str:
    return f"{shape.height}x{shape.width}"


def _too_few(first: Candidate, other: Candidate) -> str:
    """Why the numbers of runs do not allow a test; empty if they do."""
    n = [len(each.ended) for each in (first, other)]
    if n == [1, 1]:
        return ""
    if 1 in n:
        return _a_run_and_a_group(*((first, other) if n[0] == 1 else (other, first)))
    if _are_alike(first, other) and (repeated := sorted({*first.seeds} & {*other.seeds})):
        return (
            f"runs of {other.name} repeat those of {first.name} (seeds {seeds_text(repeated)}), "
            "so the two are not independent"
        )
    if all(len({run.figures[TESTED] for run in each.ended}) == 1 for each in (first, other)):
        return (
            f"all runs of {first.name} have the same accuracy, and so have those of {other.name}, "
            "so they do not say how far apart chance alone brings them"
        )
    return ""


def _a_run_and_a_group(single: Candidate, group: Candidate) -> str:
    """That a single run is not tested against several, and what to do."""
    instead = f"name one run of {group.name}"
    if len(single.runs) + single.not_begun == 1:
        return (
            f"{single.name} is a single run, and {group.name} has {len(group.ended)} seeds; train "
            f"{single.name} with several seeds too, or {instead}"
        )
    if single.not_begun or any(run.status != "failed" for run in single.runs if not _ended(run)):
        instead += ", or finish the others"
        instead += f" with: {single.resume}" if single.resume else ""
    return (
        f"only one run of {single.name} has ended, and {group.name} has {len(group.ended)}; "
        f"{instead}"
    )


def _corrected(tests: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """The tests with Holm's correction for their number."""
    corrected = iter(holm([test.result.p for test in tests if test.result is not None]))
    return tuple(
        test if test.result is None else replace(test, corrected=next(corrected)) for test in tests
    )
