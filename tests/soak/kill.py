"""Kill training runs repeatedly; each must end with the bits of a run that was never stopped.

    python tests/soak/kill.py --kills 1000
    python tests/soak/kill.py --kills 100 --recipe adamw

A parent that has imported everything forks training processes. Each is killed with SIGKILL: at a
random instant, of the whole process or of one of its phases, or before, after or in the middle of
one of the calls that change the disk. Half of the latter deaths simulate the loss of the machine:
data that was not yet flushed to disk is undone before the process dies. Other processes are new
ones that are killed while they import, or two that resume the same run at once. Then the run is
resumed, and possibly killed again. Its results (weights, every tensor of the last checkpoint, best
weights, history, counters, figures) are compared with those of the run that was never stopped. The
exit code is 0 if nothing differs.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import importlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import torch
from deaths import (
    BUNDLING,
    EVALUATING,
    READING,
    RESUMING,
    STARTING,
    Death,
    moments_of,
)
from processes import (
    CHECKPOINT_EVERY,
    IMPORTING,
    REFUSED,
    TWO_AT_ONCE,
    Ended,
    Processes,
    Session,
)
from setups import EVERYTHING as EVERYTHING
from setups import RECIPES, Setup

from tenfold.deployment.bundle import KIND as BUNDLE
from tenfold.deployment.bundle import VERSION as BUNDLE_VERSION
from tenfold.errors import FileRefusedError
from tenfold.runs.facts import RunFacts
from tenfold.runs.folder import RunFolder
from tenfold.storage import cache_folder, read_tensors
from tenfold.training.checkpoint import KIND as CHECKPOINT
from tenfold.training.checkpoint import VERSION as CHECKPOINT_VERSION
from tenfold.training.checkpoint import checkpoint_files
from tenfold.training.engine_table import ENGINES

MOST_DEATHS = 3
"""Maximum number of deaths per run."""

MOST_DIFFERENCES = 20
"""Of one recipe, after which it is given up."""

CALL, INSTANT = "at a call", "at an instant"
WAYS = {
    CALL: 4,
    INSTANT: 2,
    **dict.fromkeys((IMPORTING, READING, EVALUATING, BUNDLING, RESUMING, TWO_AT_ONCE), 1),
}
"""How processes are killed, and how often of a dozen times."""


@dataclass
class Tally:
    """Counts and differences.

    Attributes:
        kills: number of processes killed.
        resumes: number of times a run was resumed.
        runs: number of runs compared.
        compared: number of items compared.
        moments: number of moments of the calls in an undisturbed run.
        moments_hit: number of those at which a process was killed.
        seconds: time taken.
        differences: from the run that was never stopped.
        phases: kills by what the process was doing.
        left_behind: kills by the state of the run that they left behind.
        died: kills by kind: at a random instant or at a call.
    """

    kills: int = 0
    resumes: int = 0
    runs: int = 0
    compared: int = 0
    moments: int = 0
    moments_hit: int = 0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)
    phases: collections.Counter[str] = field(default_factory=collections.Counter)
    left_behind: collections.Counter[str] = field(default_factory=collections.Counter)
    died: collections.Counter[str] = field(default_factory=collections.Counter)

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        found = {**vars(self), "differences": len(self.differences)}
        found["seconds"] = round(self.seconds, 1)
        for name in ("phases", "left_behind", "died"):
            found[name] = dict(getattr(self, name).most_common())
        return found


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of several tallies."""
    found = Tally()
    for tally in tallies:
        for name, value in vars(tally).items():
            setattr(found, name, getattr(found, name) + value)
    return found


class Harness:
    """Runs of one recipe in processes that are killed.

    Args:
        setup: what to train.
        threads: of the runs.
        work: a folder to be made.
        dice: decides about deaths.
    """

    def __init__(self, setup: Setup, threads: int, work: Path, dice: random.Random) -> None:
        self.setup, self.work, self.dice = setup, work, dice
        self.tally, self.ways, self.began = Tally(), list[str](), time.monotonic()
        self.processes = Processes(setup, threads, work, dice)
        self.epochs = self.processes.recipe.epochs
        self._learn_from_undisturbed_runs()

    def _learn_from_undisturbed_runs(self) -> None:
        """Find the wanted results, the calls that change the disk, and how long phases take."""
        first, second, third = (self.work / name for name in ("first", "second", "third"))
        processes, seconds = self.processes, self.processes.seconds
        self._require_success(processes.session(Session(first, whole=True)))
        for module in json.loads(processes.log("modules.json")):
            importlib.import_module(module)  # once, so that forked processes need not
        start = time.monotonic()
        self._require_success(processes.session(Session(second)))
        seconds[""] = time.monotonic() - start
        seconds[RESUMING] = seconds[STARTING]
        self.calls = [(phase, name) for phase, name in json.loads(processes.log("calls.json"))]
        self._require_success(processes.learn_how_long_imports_take(third))
        for run in (second, third):
            if self.setup.first_epochs:
                self._require_success(processes.session(Session(run, epochs=self.epochs)))
        self.wanted = state_of(first)
        if not self.wanted == state_of(second) == state_of(third):
            raise SystemExit("runs that were never stopped differ: there is nothing to test")
        facts = RunFolder(first).read_facts()
        assert facts.figures is not None
        self.engine = facts.conditions.engine
        last = checkpoint_files(RunFolder(first).checkpoints)[0]
        self.batches = step_of(last) // facts.figures.epochs
        self.deaths = self._every_moment()
        self.tally.moments = len(self.deaths)

    def _require_success(self, ended: Ended) -> None:
        if ended.code != 0:
            raise SystemExit(f"a run that is never stopped failed:\n{self.processes.log()}")

    def _every_moment(self) -> list[Death]:
        """Every moment of every call, in a random order."""
        every = [
            Death(call=number, moment=moment, machine=self.dice.random() < 0.5)
            for number, (_, name) in enumerate(self.calls)
            for moment in moments_of(name)
        ]
        self.dice.shuffle(every)
        return every

    def kill(self, kills: int) -> None:
        """Take runs to their ends until this many processes have been killed."""
        number = 0
        while self.tally.kills < kills and len(self.tally.differences) < MOST_DIFFERENCES:
            self.trial(number)
            number += 1
        self.tally.seconds = time.monotonic() - self.began

    def to_dict(self) -> dict[str, object]:
        """Ready for JSON."""
        return {**self.tally.to_dict(), "engine": self.engine, "items": len(self.wanted)}

    def trial(self, number: int) -> None:
        """Take one run to its end, with one death or more."""
        run = self.work / f"run-{number}"
        for count in range(self.dice.randint(1, MOST_DEATHS)):
            has_begun = RunFolder(run).facts.exists()
            ended = self._disturbed(run, is_first=not count)
            self.tally.resumes += len(ended) * has_begun
            self._count_kills(run, ended)
            if wrong := self._wrong_end(ended):
                self.tally.differences.append(f"run {number}: {wrong}")
                return
            if self._is_complete(run):
                break
        if self._has_finished(run, number):
            self._compare(run, number)
            shutil.rmtree(run)

    def _disturbed(self, run: Path, *, is_first: bool) -> list[Ended]:
        """Start or resume a run in a process that is killed, or in two at once."""
        if self.setup.data == "folder" and self.dice.random() < 0.5:
            shutil.rmtree(cache_folder() / "decoded", ignore_errors=True)
        every = CHECKPOINT_EVERY if is_first else self.dice.choice((CHECKPOINT_EVERY, "", "0.05s"))
        session = Session(run, every, self._epochs_for(run))
        way = self._next_way(RunFolder(run).facts.exists())
        if way == TWO_AT_ONCE:
            return self.processes.two_at_once((session, replace(session, log="second-log")))
        if way == IMPORTING:
            return [self.processes.importing(session)]
        return [self.processes.session(session, self._death(way, is_first=is_first))]

    def _next_way(self, has_begun: bool) -> str:
        """How to kill the next process."""
        possible = [way for way in self.ways if has_begun or way not in (RESUMING, TWO_AT_ONCE)]
        if not possible:
            dozen = self.dice.sample(list(WAYS), len(WAYS), counts=list(WAYS.values()))
            self.ways += dozen
            return self._next_way(has_begun)
        self.ways.remove(possible[0])
        return possible[0]

    def _death(self, way: str, *, is_first: bool) -> Death:
        if way == CALL and is_first and self.deaths:
            self.tally.moments_hit += 1
            return self.deaths.pop()
        phase = "" if way in (CALL, INSTANT) else way
        if way not in (CALL, BUNDLING):
            return Death(phase, share=self.dice.random())
        # Calls of a resumed run differ from those of an undisturbed one, but not in their kinds.
        names = [name for its_phase, name in self.calls if phase in ("", its_phase)]
        call = self.dice.randrange(len(names))
        moment = self.dice.choice(moments_of(names[call]))
        return Death(phase, call=call, moment=moment, machine=self.dice.random() < 0.5)

    def _epochs_for(self, run: Path, *, must_be_whole: bool = False) -> int | None:
        """The new number of epochs to resume a run with; None to leave it."""
        facts, epochs = facts_of(run), self.epochs
        if not self.setup.first_epochs or facts is None:
            return None
        if facts.context.recipe["epochs"] == epochs:
            return self.dice.choice((None, epochs))
        # If a process died just after `resume --epochs`, the command must be repeated.
        is_asked = tomllib.loads(RunFolder(run).recipe.read_text())["epochs"] == epochs
        return epochs if is_asked or must_be_whole or self.dice.random() < 0.5 else None

    def _count_kills(self, run: Path, ended: list[Ended]) -> None:
        for each in ended:
            if each.code is None:
                self.tally.kills += 1
                self.tally.phases[each.phase] += 1
                self.tally.left_behind[left_behind(run, self.batches)] += 1
                self.tally.died[each.died] += 1

    def _wrong_end(self, ended: list[Ended]) -> str:
        """What is wrong with how processes ended; empty for nothing."""
        codes = [each.code for each in ended]
        allowed = (None, 0) if len(ended) == 1 else (None, 0, REFUSED)
        if any(code not in allowed for code in codes):
            logs = ("log", "second-log")[: len(ended)]
            return f"it could not be resumed: {' '.join(map(self.processes.log, logs))}"
        if set(codes) == {REFUSED}:
            return "each of two processes was refused"
        times = sorted(each.writing for each in ended if each.writing)
        overlap = any(later[0] < earlier[1] for earlier, later in pairwise(times))
        return "two processes wrote it at the same time" if overlap else ""

    def _is_complete(self, run: Path) -> bool:
        facts = facts_of(run)
        epochs = facts is not None and facts.has_ended and facts.context.recipe["epochs"]
        return epochs == self.epochs

    def _has_finished(self, run: Path, number: int) -> bool:
        """Resume a run to its end; whether that was possible."""
        for _ in range(2 if self.setup.first_epochs else 1):
            self.tally.resumes += RunFolder(run).facts.exists()
            epochs = self._epochs_for(run, must_be_whole=True)
            every = self.dice.choice((CHECKPOINT_EVERY, ""))
            if self.processes.session(Session(run, every, epochs)).code != 0:
                self.tally.differences.append(
                    f"run {number} could not be finished: {self.processes.log()}"
                )
                return False
        return True

    def _compare(self, run: Path, number: int) -> None:
        found = state_of(run)
        self.tally.runs += 1
        self.tally.compared += len(self.wanted)
        self.tally.differences += [
            f"run {number}: {key} differs: {found.get(key)!r:.200}, wanted {value!r:.200}"
            for key, value in self.wanted.items()
            if found.get(key) != value
        ]
        for word in ("damaged", "foreign"):
            if names := sorted(path.name for path in run.rglob(f"*.{word}*")):
                self.tally.differences.append(f"run {number}: files were {word}: {names}")


def step_of(checkpoint: Path) -> int:
    """The number of steps in the name of a checkpoint."""
    return int(checkpoint.stem.removeprefix("step-"))


def facts_of(run: Path) -> RunFacts | None:
    """What `run.json` says; None if it is missing or damaged."""
    try:
        return RunFolder(run).read_facts()
    except FileRefusedError:
        return None


def left_behind(run: Path, batches: int) -> str:
    """How far a killed run has got, judging by the disk, with this many batches per epoch."""
    folder, facts = RunFolder(run), facts_of(run)
    if not run.exists():
        return "no folder"
    if not folder.facts.exists():
        return "a folder without run.json"
    if facts is None:
        return "a damaged run.json"  # so the run cannot be resumed, which is a difference
    files = checkpoint_files(folder.checkpoints)
    if not files:
        return "before the first checkpoint"
    if facts.status != "running":
        return f"marked as {facts.status}"
    if folder.model.exists() and folder.model.stat().st_mtime > files[0].stat().st_mtime:
        return "while finishing, with its model"
    step, temporary = step_of(files[0]), any(run.rglob(".*.tmp"))
    where = "at an epoch's end" if step % batches == 0 else "in the middle of an epoch"
    where = where if step else "at the first checkpoint"
    return f"{where}{', writing a file' if temporary else ''}"


def state_of(run: Path) -> dict[str, object]:
    """All results of a run, except times."""
    folder = RunFolder(run)
    facts = folder.read_facts()
    files = checkpoint_files(folder.checkpoints)
    found: dict[str, object] = {
        "status": facts.status,
        "figures": _without_times(facts.figures and facts.figures.to_dict()),
        "test": facts.test,
        "sessions": all(session.bit_exact for session in facts.sessions),
        "recipe": folder.read_text(folder.recipe),
        "history": [_without_times(each.model_dump()) for each in folder.read_history(facts)],
        "last checkpoint": files[0].name,
        "left behind": sorted(p.name for p in run.rglob("*") if p.name.endswith(("tmp", "stash"))),
    }
    for name, path, kind, version in (
        ("checkpoint", files[0], CHECKPOINT, CHECKPOINT_VERSION),
        ("model", folder.model, BUNDLE, BUNDLE_VERSION),
        ("best", folder.best, BUNDLE, BUNDLE_VERSION),
    ):
        if not path.exists():
            found[name] = "missing"
            continue
        file = read_tensors(path, kind=kind, version=version)
        found[f"{name}: header"] = _without_times(file.header)
        for key, tensor in file.tensors.items():
            bits = hashlib.sha256(tensor.data).hexdigest()
            found[f"{name}: {key}"] = (tensor.dtype, tensor.shape, bits)
        if name == "model":
            found["digests"] = facts.digests == folder.digests(facts, model=file.sha256)
    return found


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items() if key != "seconds"}
    if isinstance(value, list):
        return [_without_times(each) for each in value]
    return value


def print_harness(name: str, harness: Harness) -> None:
    """One recipe's figures."""
    tally = harness.tally
    print(
        f"{name}: {tally.kills} kills, {tally.resumes} resumes, {tally.runs} runs compared in "
        f"{len(harness.wanted)} items each, {len(tally.differences)} differences; "
        f"{tally.moments_hit} of the {tally.moments} moments of {len(harness.calls)} calls hit; "
        f"engine {harness.engine}; {tally.seconds:.1f} s\n"
        f"    killed in: {in_words(tally.phases)}",
        flush=True,
    )


def print_total(found: Tally) -> None:
    """The figures of all recipes."""
    print(
        f"all: {found.kills} kills, {found.resumes} resumes, {found.runs} runs compared in "
        f"{found.compared} items, {len(found.differences)} differences; {found.seconds:.1f} s\n"
        f"    killed in: {in_words(found.phases)}\n"
        f"    left behind: {in_words(found.left_behind)}\n"
        f"    died: {in_words(found.died)}"
    )


def in_words(counts: collections.Counter[str]) -> str:
    """Counts, largest first."""
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="over all recipes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recipe", help=f"a file, or one of {', '.join(RECIPES)}; default: all")
    parser.add_argument("--engine", choices=["auto", *ENGINES], help="default: the recipe's own")
    parser.add_argument("--data", help="default: the recipe's own, or digits for a file")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork after a parallel region would hang
    chosen = RECIPES
    if options.recipe:
        own = RECIPES.get(options.recipe, Setup(base=options.recipe))
        chosen = {options.recipe: own}
    given = {key: vars(options)[key] for key in ("engine", "data") if vars(options)[key]}
    start, harnesses = time.monotonic(), dict[str, Harness]()
    with tempfile.TemporaryDirectory(prefix="tenfold-kill-") as folder:
        work = Path(folder).resolve()
        os.environ["TENFOLD_CACHE"] = str(work / "cache")
        for place, (name, setup) in enumerate(chosen.items()):
            kills = (options.kills + place) // len(chosen)  # the sum is that of all
            if kills:
                setup = replace(setup, **given)
                dice = random.Random(f"{options.seed} {name}")
                harness = Harness(setup, options.threads, work / f"recipe-{place}", dice)
                harness.kill(kills)
                harnesses[name] = harness
                for difference in harness.tally.differences:
                    print(f"{name}: {difference}", file=sys.stderr, flush=True)
                if not options.json:
                    print_harness(name, harness)
    found = total(harness.tally for harness in harnesses.values())
    found.seconds = time.monotonic() - start
    if options.json:
        recipes = {name: harness.to_dict() for name, harness in harnesses.items()}
        print(json.dumps({**found.to_dict(), "recipes": recipes}))
    else:
        print_total(found)
    sys.exit(1 if found.differences or not found.kills else 0)


if __name__ == "__main__":
    main()
