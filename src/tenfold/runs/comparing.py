"""Runs side by side: figures, differences, and tests. Importing this does not import PyTorch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tenfold.errors import TenfoldError, UsageError, counted, printable
from tenfold.evaluation.comparing import Paired, Summary, Welch, holm, paired, welch
from tenfold.listening import Listener
from tenfold.paths import is_file
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

TESTED = "test_acc"
"""The figure whose means are compared between groups."""

CONDITIONS = ("engine", "device", "threads", "instructions", "torch", "tenfold")
"""The conditions of a run that are compared."""


@dataclass(frozen=True)
class Candidate:
    """One of the things that are compared: a run, or runs that differ only in their seeds.

    Attributes:
        name: a letter.
        place: the run's folder or the group's as it was named, and for runs that are no group by
            their folder, how many there are.
        runs: one or more.
    """

    name: str
    place: str
    runs: tuple[Run, ...]

    @property
    def ended(self) -> tuple[Run, ...]:
        """The runs that have figures."""
        return tuple(run for run in self.runs if run.facts.figures is not None)

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
        """The figures of the run, or those of several on the average; empty without any."""
        if not self.ended:
            return {}
        means = {name: found.mean for name, found in self.summaries.items()}
        return {**self.ended[0].figures, **means}

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the test accuracy: Wilson's of a run, Student's t of several; None without one."""
        if TESTED in self.summaries:
            return self.summaries[TESTED].interval
        found = self.figures.get("test_interval")
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
        tests: of each other candidate with the first.
        notes: what else there is to know, one sentence each.
    """

    candidates: tuple[Candidate, ...]
    recipes: Mapping[str, Mapping[str, Any]]
    conditions: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, list[list[str]]]
    tests: tuple[Contrast, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "recipes": {key: dict(values) for key, values in self.recipes.items()},
            "conditions": {key: dict(values) for key, values in self.conditions.items()},
            "data": {split: [list(names) for names in same] for split, same in self.data.items()},
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
        raise UsageError(
            f"{counted(n, 'run')} to compare, wanted two or more",
            remedy="list the runs with: tenfold runs",
        )
    candidates = _candidates(opened)
    notes += [_unfinished(run) for each in candidates for run in each.runs if run not in each.ended]
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
        if new:
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
            if known.isdisjoint(each.seeds) and _are_alike(together[0], each):
                together.append(each)
                break
        else:  # also for what has a seed that is there already: a repetition is no new seed
            order.append([each])
    return [
        Candidate(
            _letters(number), _place(together), tuple(run for each in together for run in each.runs)
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
    return one.key == other.key and not differing_keys(
        first.context.recipe, first.data, second.context.recipe, second.data
    )


def _key(run: Run) -> str:
    facts = run.facts
    n, recipe = facts.data.n, facts.context.recipe
    common = {
        "recipe": {key: recipe[key] for key in recipe if key not in ("seed", BATCH)},
        "source": facts.data.source,
        "classes": facts.data.classes,
        # How these are divided may depend on the seed.
        "images": sum(n[split] for split in n if split != "test"),
        "test": [n.get("test"), facts.context.data.get("test")],
        "start": None if facts.start is None else facts.start.sha256,
        "engine": [facts.conditions.engine, facts.conditions.device_kind],
    }
    return json.dumps(common, sort_keys=True)


def _place(together: Sequence[Candidate]) -> str:
    places = [each.place for each in together]
    if len(places) == 1:
        return places[0]
    return f"{places[0]} and {len(places) - 1} more"


def _letters(number: int) -> str:
    """`A` to `Z`, then `AA` and so on."""
    rest, last = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("A") + last)


def _unfinished(run: Run) -> str:
    folder = RunFolder(run.folder)
    said = f"{printable(run.folder)} has no final figures (status: {run.status})"
    if run.status == "running":
        return said
    return f"{said}; finish it with: {folder.command('resume')}"


# --- what differs -----------------------------------------------------------------------------


def _recipe_of(candidate: Candidate) -> dict[str, Any]:
    facts = candidate.runs[0].facts
    flat = dict(_flat(facts.context.recipe))
    flat["seed"] = seeds_text(candidate.seeds)
    flat["data"] = facts.data.source
    return flat


def _conditions_of(candidate: Candidate) -> dict[str, Any]:
    found = candidate.runs[0].facts.conditions.model_dump()
    return {key: found[key] for key in CONDITIONS}


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
            except TenfoldError as error:
                known[candidate.name] = str(error)
        return known[candidate.name]

    def tested(other: Candidate) -> Contrast:
        pair = Contrast(first.name, other.name)
        if why_not := _why_not(first, other):
            return replace(pair, why_not=why_not)
        if len(first.ended) > 1:
            values = [[run.figures[TESTED] for run in each.ended] for each in (first, other)]
            return replace(pair, result=welch(*values))
        one, two = predictions(first), predictions(other)
        if isinstance(one, str) or isinstance(two, str):
            return replace(pair, why_not=one if isinstance(one, str) else str(two))
        if one.true.tolist() != two.true.tolist():
            return replace(pair, why_not="their predictions are of other images")
        return replace(pair, result=paired(one.correct, two.correct))

    return [tested(other) for other in others]


def _why_not(first: Candidate, other: Candidate) -> str:
    """Why two candidates cannot be tested; empty if they can."""
    for each in (first, other):
        if not each.ended:
            return f"{each.name} has no final figures"
        if any(run.figures.get(TESTED) is None for run in each.ended):
            return f"{each.name} has no test images"
    tested_on = [
        (each.ended[0].facts.context.data.get("test"), each.ended[0].facts.data.classes)
        for each in (first, other)
    ]
    if tested_on[0] != tested_on[1]:
        return "they were tested on different images"
    sizes = [len(each.ended) for each in (first, other)]
    if 1 in sizes and max(sizes) > 1:
        single, group = (first, other) if sizes[0] == 1 else (other, first)
        return (
            f"{single.name} is a single run, and {group.name} has {max(sizes)} seeds; train "
            f"{single.name} with several seeds too, or name one run of {group.name}"
        )
    return ""


def _corrected(tests: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """The tests with Holm's correction for their number."""
    corrected = iter(holm([test.result.p for test in tests if test.result is not None]))
    return tuple(
        test if test.result is None else replace(test, corrected=next(corrected)) for test in tests
    )
