"""Training the runs of a group, which differ in nothing but their seeds.

Importing this does not import PyTorch.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.data.folders.damage import BadFilesError
from tenfold.errors import (
    DataError,
    FileRefusedError,
    InterruptedRunError,
    TrainingError,
    UsageError,
    counted,
)
from tenfold.listening import Listener, Recorder, WithoutNotes
from tenfold.models.table import MODELS
from tenfold.paths import is_file
from tenfold.recipes import Recipe
from tenfold.runs.evaluate import of_own_images, reopened_data
from tenfold.runs.evidence import AfterRun
from tenfold.runs.folder import RunFolder, new_run, require_new
from tenfold.runs.groups import GroupFacts, GroupFolder, SeedRuns, existing_group, open_seeds
from tenfold.runs.reading import Recorded, WholeData, read_while_importing, read_whole
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run, open_run
from tenfold.runs.signals import StopRequest, stop_on_signals
from tenfold.runs.starting import Start, read_start, with_start
from tenfold.runs.train import parse_interval, time_for
from tenfold.storage import make_folder
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Standing, Watcher

if TYPE_CHECKING:
    from tenfold.runs.prepared import Prepared

MOST_SEEDS = 1000


def train_seeds(
    recipe: Recipe,
    data: object = None,
    *,
    seeds: int,
    out: Path | None = None,
    resources: Resources = USUAL,
    time: str = "",
    checkpoint_every: str | int = "",
    show_test: bool = False,
    watcher: Watcher | None = None,
    after: AfterRun | None = None,
) -> SeedRuns:
    """Train several runs that differ in nothing but the seed, in one new folder.

    The seeds count up from that of the recipe. Data is read once; each seed chooses its own
    validation images, and if there is a limit, its own training images. What the recipe leaves to
    the data is chosen for the first run, and the others get the same. A run that fails to train
    does not stop the others.

    Args:
        recipe: what to do.
        data: see `load_splits`; None for the recipe's own.
        seeds: number of runs, 2..1000.
        out: the group's folder; None for the next `runs/<data>-<model>-NNN`.
        resources: what each run may use.
        time: about how long each run should train; see `train_run`.
        checkpoint_every: see `train_run`.
        show_test: see `train_run`.
        watcher: called as each run trains.
        after: called when all files of a run are written.

    Raises:
        DataError: the data cannot be read or trained on.
        UsageError: the recipe does not fit the data, or a number is out of range.
        TrainingError: all runs failed.
        InterruptedRunError: a signal stopped the group; it can be resumed.
        StorageError: a folder cannot be written.
    """
    watcher = watcher or Watcher()
    numbers = _numbers(recipe.seed, seeds)
    every, seconds = parse_interval(checkpoint_every), time_for(recipe, time)
    resources.require_valid()
    if resources.own is not None and resources.own.given is not None:
        raise UsageError(
            f"model is a network, {resources.own.name}, of which all seeds would begin with the "
            "same weights",
            remedy="give what makes one: model=Net, or model=lambda: Net(...)",
        )
    if out is not None:
        require_new(RunFolder(out))  # before the data is read, which may take long
    start = read_start(recipe)
    recipe = with_start(recipe, start, watcher)
    if "torch" in sys.modules:
        whole = read_whole(recipe, data, resources, listener=watcher)
    else:
        whole = read_while_importing(recipe, data, resources, listener=watcher, read=read_whole)
    from tenfold.runs.preparing import prepare

    noted = Recorder(watcher)
    with resources.repeatable() as device:
        prepared = prepare(
            recipe,
            whole.held_out(recipe, noted),
            resources,
            device,
            listener=noted,
            start=start,
            seconds=seconds,
            show_test=show_test,
        )
        prepared.compute_features(noted)
        folder = new_run(out, prepared.recipe.data, prepared.recipe.model)
        with folder.locked(), stop_on_signals() as stop:
            require_new(folder)
            folder.clean()
            group = GroupFolder(folder.path if out is None else out)
            facts = GroupFacts(
                recipe=prepared.recipe.to_dict(),
                seeds=numbers,
                data=prepared.data,
                start=prepared.start,
                conditions=prepared.conditions,
            )
            group.write_facts(facts)
            told = set(noted.notes)
            training = _Training(
                group, facts, resources, every, show_test, watcher, stop, told, after
            )
            with training.resumable():
                training.run(numbers[0], prepared)
                del prepared  # of which the weights and images need not stay in memory
                for seed in numbers[1:]:
                    training.begin(seed, whole, start)
            return training.result()


def resume_seeds(
    path: Path,
    *,
    data: object = None,
    resources: Resources = USUAL,
    checkpoint_every: str | int = "",
    show_test: bool = False,
    watcher: Watcher | None = None,
    after: AfterRun | None = None,
) -> SeedRuns:
    """Continue a group: the runs that have not ended, then those that have not begun.

    Args:
        path: the group's folder.
        data: the data again, if it was passed in Python or has moved.
        resources: what each run may use.
        checkpoint_every: see `train_run`.
        show_test: see `train_run`.
        watcher: called as each run trains.
        after: called when all files of a run are written.

    Raises:
        FileRefusedError: there is no group, another process is writing it, or it is damaged.
        DataError: the data has changed.
        TrainingError, InterruptedRunError, StorageError: see `train_seeds`.
    """
    watcher = watcher or Watcher()
    every = parse_interval(checkpoint_every)
    resources.require_valid()
    group = existing_group(path)
    with group.folder.locked(), stop_on_signals() as stop:
        group.folder.clean()
        facts = group.read_facts()
        own = resources.with_defaults_from(facts, data)
        told = set(facts.data.notes)
        training = _Training(group, facts, own, every, show_test, watcher, stop, told, after)
        with training.resumable():
            trained = training.resume(data, resources, checkpoint_every)
        found = training.result()
        if not trained:
            watcher.note(
                f"{group}: all {counted(len(facts.seeds), 'run')} have ended, nothing to do"
            )
        return found


def _numbers(first: int, seeds: int) -> list[int]:
    """The seeds of a group.

    Raises:
        UsageError: there are too few or too many, or one is out of range.
    """
    if not 2 <= seeds <= MOST_SEEDS:
        raise UsageError(f"seeds is {seeds}, wanted 2..{MOST_SEEDS}, the number of runs")
    if first + seeds > 2**63:
        raise UsageError(f"seed is {first}, wanted less than {2**63 - seeds + 1:,}")
    return list(range(first, first + seeds))


@dataclass
class _Training:
    """The work on a group, with its folder locked.

    Attributes:
        group: its folder.
        facts: the contents of its `seeds.json`.
        resources: what each run may use.
        every: between checkpoints, in seconds and batches.
        show_test: whether to evaluate the test images after every epoch.
        watcher: called as each run trains.
        stop: whether a signal has asked the group to stop.
        told: notes that need not be told again.
        after: called when all files of a run are written.
    """

    group: GroupFolder
    facts: GroupFacts
    resources: Resources
    every: tuple[float, int]
    show_test: bool
    watcher: Watcher
    stop: StopRequest
    told: set[str]
    after: AfterRun | None

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """If the block is interrupted, say how the group is continued."""
        remedy = f"continue with: {self.group.folder.command('resume')}"
        try:
            yield
        except InterruptedRunError as error:
            raise InterruptedRunError(
                error.message, remedy=remedy, signal_number=error.signal_number
            ) from error
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"{self.group}: stopped between two runs",
                remedy=remedy,
                signal_number=self.stop.signal_number or signal.SIGINT,
            ) from None

    def resume(
        self, data: object, resources: Resources, checkpoint_every: str | int
    ) -> Sequence[int]:
        """Continue what has begun, and begin what is missing; returns the seeds of these runs."""
        from tenfold.runs.resume import resume_run

        begun = [seed for seed in self.facts.seeds if is_file(self.group.run_of(seed).facts)]
        missing = [seed for seed in self.facts.seeds if seed not in begun]
        unfinished = [seed for seed in begun if not self._has_ended(seed)]
        for seed in set(begun) - set(unfinished):
            self._clean(seed)
        for seed in unfinished:
            self._look()
            with self._tolerating(seed):
                run = resume_run(
                    self.group.run_of(seed).path,
                    data=data,
                    resources=resources,
                    checkpoint_every=checkpoint_every,
                    show_test=self.show_test,
                    watcher=self._watching(seed),
                    after=self.after,
                )
                self._tell(seed, run)
        if missing:
            self._require_code()
            whole, start = self._read(data), self._start()
            for seed in missing:
                self.begin(seed, whole, start)
        return [*unfinished, *missing]

    def _require_code(self) -> None:
        """Refuse to begin runs of a network of the user's own without its code."""
        model = self.facts.recipe.get("model")
        if self.resources.own is None and model not in MODELS:
            raise FileRefusedError(
                f"{self.group}: some runs have not begun, and their network, {model}, needs its "
                "code, which is run only if you name it",
                remedy=f"add --code {model}",
            )

    def begin(self, seed: int, whole: WholeData, start: Start | None) -> None:
        """Train a run that has not begun."""
        from tenfold.runs.preparing import prepare

        recipe, watching = self.group.recipe_of(self.facts, seed), self._watching(seed)
        with self.resources.repeatable() as device:
            with self.stop.raising():
                prepared = prepare(
                    recipe,
                    whole.held_out(recipe, watching),
                    self.resources,
                    device,
                    listener=watching,
                    start=start,
                    show_test=self.show_test,
                )
                prepared.compute_features(watching)
            self.run(seed, prepared)

    def run(self, seed: int, prepared: Prepared) -> None:
        """Train a run that is prepared; call this inside `Resources.repeatable`."""
        from tenfold.runs.session import Beginning, first_facts, run_session

        folder = RunFolder(self.group.run_of(seed).path)
        make_folder(folder.path)
        with folder.locked(), self._tolerating(seed):
            folder.clean()
            run = run_session(
                folder,
                prepared,
                first_facts(prepared),
                self.every,
                self._watching(seed),
                Beginning(),
                self.stop,
                self.after,
            )
            self._tell(seed, run)

    def result(self) -> SeedRuns:
        """The group, as it is now.

        Raises:
            TrainingError: all runs failed.
        """
        found = open_seeds(self.group.folder.path)
        if not found.runs and found.failures:
            seed, failure = next(iter(found.failures.items()))
            raise TrainingError(f"{self.group}: all runs failed; seed {seed}: {failure}")
        return found

    def _has_ended(self, seed: int) -> bool:
        """Whether a run has ended, and its files can be read."""
        try:
            return open_run(self.group.run_of(seed).path).facts.has_ended
        except FileRefusedError:  # `resume_run` repairs it, or says what is wrong
            return False

    def _clean(self, seed: int) -> None:
        """Remove what a process left half-written that died after the run had ended."""
        folder = self.group.run_of(seed)
        with suppress(FileRefusedError), folder.locked():  # else another process is writing there
            folder.clean()

    @contextmanager
    def _tolerating(self, seed: int) -> Iterator[None]:
        """Note that a run fails to train, and go on with the next."""
        try:
            yield
        except TrainingError as error:
            self.watcher.note(f"seed {seed} failed: {error}")

    def _look(self) -> None:
        if self.stop():
            raise KeyboardInterrupt

    def _watching(self, seed: int) -> Watcher:
        number = self.facts.seeds.index(seed) + 1
        return _OfRun(self.watcher, f"seed {seed} ({number} of {len(self.facts.seeds)})", self.told)

    def _tell(self, seed: int, run: Run) -> None:
        found = run.figures
        shown = [
            f"{name} {found[name]:.4f}"
            for name in ("val_acc", "test_acc")
            if found.get(name) is not None
        ]
        self.watcher.note(f"seed {seed}: {', '.join([run.facts.status, *shown])}")

    def _read(self, data: object) -> WholeData:
        """The data of the group again.

        Raises:
            DataError: it has changed.
        """
        group, facts, recipe = self.group, self.facts, self._first_recipe()
        place = f"tenfold.resume_seeds({str(group)!r}, data=data)"
        try:
            whole = read_whole(
                recipe,
                data
                if data is not None
                else reopened_data(
                    group.folder,
                    facts,
                    passed_in_python=f"resume in Python, and pass it again: {place}",
                    moved="say where it is now: "
                    f"{group.folder.command('resume', '--data', 'PLACE')}",
                ),
                self.resources,
                listener=WithoutNotes(self.watcher),
                recorded=Recorded.of(facts.data),
            )
        except BadFilesError as error:
            raise of_own_images(error) from error
        if whole.held_out(recipe, Listener()).fingerprint != facts.data.fingerprint:
            raise DataError(
                f"{whole.loaded.source}: the data has changed since the group was begun",
                remedy="restore it, or train a new group",
            )
        return whole

    def _start(self) -> Start | None:
        """What the networks start from.

        Raises:
            FileRefusedError: it has changed.
        """
        start = read_start(self._first_recipe())
        if start is not None and start.facts != self.facts.start:
            raise FileRefusedError(
                f"{start.facts.place}: it has changed since the group was begun",
                remedy="restore it, or train a new group",
            )
        return start

    def _first_recipe(self) -> Recipe:
        return self.group.recipe_of(self.facts, self.facts.seeds[0])


class _OfRun(Watcher):
    """Forwards what happens in one of several runs, and those of its notes that are new.

    Args:
        watcher: receives it.
        name: of the run, such as `seed 3 (2 of 5)`.
        told: notes that need not be told again.
    """

    def __init__(self, watcher: Watcher, name: str, told: set[str]) -> None:
        self._watcher, self._name, self._told = watcher, name, told
        self.every_batches = watcher.every_batches

    def note(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._watcher.note(f"{self._name}: {text}")

    def reading(self, what: str, done: int, total: int | None) -> None:
        self._watcher.reading(what, done, total)

    def started(self, folder: Path | None, history: Sequence[EpochMetrics]) -> None:
        self._watcher.note(self._name)
        self._watcher.started(folder, history)

    def advanced(self, standing: Standing) -> None:
        self._watcher.advanced(replace(standing, training=self._name))

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        self._watcher.epoch_done(metrics, epochs)

    def ended(self) -> None:
        self._watcher.ended()

    def next_look(self, batch: int) -> float:
        return self._watcher.next_look(batch)
