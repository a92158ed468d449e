"""A group of runs that differ only in their seeds, in one folder.

Importing this does not import PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from tenfold.data.folders.walking import SEEDS
from tenfold.errors import FileRefusedError, UsageError, counted, listing, printable
from tenfold.evaluation.comparing import SHARE, Summary, summary_of
from tenfold.paths import exists, is_file
from tenfold.recipes import Recipe, validate
from tenfold.recipes.older import upgraded_recipe
from tenfold.runs.facts import PUT_BACK, Conditions, DataFacts, StartFacts
from tenfold.runs.folder import RunFolder
from tenfold.runs.run import Run, open_run
from tenfold.storage import Facts, checked, require_readable, write_json

FORMAT = 1
"""Version of `seeds.json`; newer ones are refused."""

FIGURES = {
    "val_loss": (0.0, math.inf),
    "val_acc": SHARE,
    "test_loss": (0.0, math.inf),
    "test_acc": SHARE,
    "test_balanced_acc": SHARE,
    "seconds": (0.0, math.inf),
}
"""The figures that are summarized over the runs, and their ranges."""


BATCH = "batch_size"


class GroupFacts(Facts):
    """All of `seeds.json`, which is written before the first run begins.

    Attributes:
        format: version of the file format.
        recipe: of all runs, complete; its seed is the first.
        seeds: one for each run.
        data: what the run with the first seed is trained on; the others divide it in their own way.
        start: what the networks start from; None for random weights.
        conditions: under which the first run began.
    """

    format: int = FORMAT
    recipe: dict[str, Any]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]
    data: DataFacts
    start: StartFacts | None = None
    conditions: Conditions


class GroupFolder:
    """The paths of a group.

    Args:
        path: the group's folder; messages show it as given here.

    Attributes:
        folder: for its lock, and for commands.
        facts: the path of `seeds.json`.
    """

    def __init__(self, path: Path) -> None:
        self._name = path
        self.folder = RunFolder(path)
        self.facts = self.folder.path / SEEDS

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def is_there(self) -> bool:
        """Whether there is such a group."""
        return is_file(self.facts)

    def run_of(self, seed: int) -> RunFolder:
        """The folder of the run with a seed, which need not exist yet."""
        return RunFolder(self._name / f"seed-{seed}")

    def write_facts(self, facts: GroupFacts) -> None:
        """Write `seeds.json`."""
        write_json(self.facts, facts.model_dump(mode="json"))

    def read_facts(self) -> GroupFacts:
        """The contents of `seeds.json`.

        Raises:
            FileRefusedError: it is missing or damaged.
            NewerFormatError: a newer tenfold wrote it.
        """
        value = self.folder.read_json(self.facts)
        version = value.get("format") if isinstance(value, dict) else None
        if type(version) is not int or version < 1:
            raise FileRefusedError(
                f"{self.facts}: its format is {version!r}, wanted {FORMAT}", remedy=PUT_BACK
            )
        require_readable(version, FORMAT, self.facts)
        facts = checked(GroupFacts, value, self.facts, remedy=PUT_BACK)
        if len(set(facts.seeds)) < len(facts.seeds):
            raise FileRefusedError(f"{self.facts}: a seed is there twice", remedy=PUT_BACK)
        return facts

    def recipe_of(self, facts: GroupFacts, seed: int) -> Recipe:
        """The complete recipe of the run with a seed.

        Raises:
            FileRefusedError: that of the group is damaged.
        """
        try:
            recipe = validate(upgraded_recipe(facts.recipe), str(self.facts))
        except (ValueError, UsageError) as error:
            found = getattr(error, "message", str(error))
            raise FileRefusedError(f"{self.facts}: {found}", remedy=PUT_BACK) from error
        return recipe.model_copy(update={"seed": seed})


@dataclass(frozen=True)
class SeedRuns:
    """The runs of a group.

    Attributes:
        folder: the group's, absolute.
        seeds: of all runs.
        runs: those that have ended, in the order of their seeds.
        failures: why others failed, by seed.
    """

    folder: Path
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    failures: Mapping[int, str]

    @property
    def unfinished(self) -> tuple[int, ...]:
        """The seeds of runs that have neither ended nor failed."""
        ended = {seed_of(run) for run in self.runs}
        return tuple(seed for seed in self.seeds if seed not in ended | self.failures.keys())

    @property
    def figures(self) -> dict[str, Summary]:
        """Mean, deviation and interval by figure; empty for fewer than two runs."""
        return summaries([run.figures for run in self.runs])

    def to_dict(self) -> dict[str, Any]:
        """The runs and their figures, ready for JSON."""
        return {
            "group": str(self.folder),
            "seeds": list(self.seeds),
            "unfinished": list(self.unfinished),
            "failures": {str(seed): failure for seed, failure in self.failures.items()},
            "runs": [
                {
                    "seed": seed_of(run),
                    "run": str(run.folder),
                    "status": run.status,
                    **run.figures,
                }
                for run in self.runs
            ],
            "figures": {name: found.to_dict() for name, found in self.figures.items()},
        }

    def __str__(self) -> str:
        n = counted(len(self.seeds), "run")
        if len(self.runs) < len(self.seeds):
            n = f"{len(self.runs)} of {n}"
        lines = [f"{n} with the seeds {seeds_text(self.seeds)}"]
        for seed, failure in self.failures.items():
            lines.append(f"seed {seed} failed: {failure}")
        if self.unfinished:
            lines.append(f"not finished: {listing(list(map(str, self.unfinished)))}")
        for name, found in self.figures.items():
            low, high = found.interval
            if name != "seconds":
                lines.append(
                    f"{name} {found.mean:.4f} (deviation {found.deviation:.4f}, 95 % interval of "
                    f"the mean {low:.4f} to {high:.4f})"
                )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"SeedRuns({str(self.folder)!r}, {len(self.runs)} of {len(self.seeds)} have ended)"


def summaries(figures: list[dict[str, Any]]) -> dict[str, Summary]:
    """Summaries of the figures that all of several runs have; empty for fewer than two runs."""
    if len(figures) < 2:
        return {}
    return {
        name: summary_of([float(each[name]) for each in figures], within)
        for name, within in FIGURES.items()
        if all(each.get(name) is not None for each in figures)
    }


def seed_of(run: Run) -> int:
    """The seed of a run.

    Raises:
        FileRefusedError: its `run.json` has none.
    """
    seed = run.facts.context.recipe.get("seed")
    if type(seed) is not int:
        place = RunFolder(run.folder).facts
        raise FileRefusedError(
            f"{place}: the seed of its recipe is {printable(repr(seed))}, wanted a whole number",
            remedy=PUT_BACK,
        )
    return seed


def seeds_text(seeds: tuple[int, ...] | list[int]) -> str:
    """Seeds in a few words: `0 to 4`, or each of them."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return listing(list(map(str, seeds)))


def open_seeds(path: str | Path) -> SeedRuns:
    """The group of runs in a folder.

    Raises:
        FileRefusedError: not the folder of a group; or it, or one of its runs, is damaged, or a run
            has another recipe than the group.
    """
    group = existing_group(Path(path))
    facts = group.read_facts()
    runs, failures = list[Run](), dict[int, str]()
    for seed in facts.seeds:
        folder = group.run_of(seed)
        if not is_file(folder.facts):
            continue
        run = open_run(folder.path)
        if run.facts.has_ended:
            require_recipe(run, group, facts, seed)
            runs.append(run)
        elif run.facts.failure is not None and run.facts.status == "failed":
            failures[seed] = run.facts.failure
    return SeedRuns(group.folder.path, tuple(facts.seeds), tuple(runs), failures)


def require_recipe(run: Run, group: GroupFolder, facts: GroupFacts, seed: int) -> None:
    """Require that a run differs from the others of its group only in its seed.

    Raises:
        FileRefusedError: it differs in more, such as a run that was trained further.
    """
    recipe, found = group.recipe_of(facts, seed).decisive_fields(), run.facts
    differing = [
        key
        for key in differing_keys(recipe, facts.data, found.context.recipe, found.data)
        if key in found.context.recipe
    ]
    if seed_of(run) != seed:
        differing.append("seed")
    if differing:
        raise FileRefusedError(
            f"{group.run_of(seed)}: it was trained with another recipe than its group: "
            f"{listing(differing)}",
            remedy="move it out of the group, which trains it again with: "
            f"{group.folder.command('resume')}",
        )


def differing_keys(
    recipe: Mapping[str, Any], data: DataFacts, other: Mapping[str, Any], other_data: DataFacts
) -> list[str]:
    """What differs in two recipes besides the seed.

    Which images are held out for validation depends on the seed, and so may their number, because
    copies of an image stay together. So does the size of a batch, if the recipe wants more images
    than are left: two runs may have the same recipe though their batches differ.

    Args:
        recipe: the decisive fields of a run's recipe.
        data: of that run.
        other: those of another run's.
        other_data: of the other run.
    """
    differing = {key for key in recipe.keys() | other if recipe.get(key) != other.get(key)}
    if BATCH in differing and _may_want_the_same(
        recipe.get(BATCH), data.n.get("train"), other.get(BATCH), other_data.n.get("train")
    ):
        differing.discard(BATCH)
    return sorted(differing - {"seed"})


def _may_want_the_same(size: object, n: object, other: object, other_n: object) -> bool:
    """Whether batches of these sizes may come from one recipe, which may want more than n."""
    if not isinstance(size, int) or not isinstance(other, int):
        return False
    if size > other:
        return other == other_n
    return size in (other, n)


def existing_group(path: Path) -> GroupFolder:
    """The group in a folder.

    Raises:
        FileRefusedError: there is none.
    """
    group = GroupFolder(path)
    if not group.is_there:
        found = "not the folder of a group of runs" if exists(path) else "no such folder"
        raise FileRefusedError(
            f"{group}: {found}", remedy="name a folder that tenfold train --seeds has made"
        )
    return group
