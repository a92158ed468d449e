"""Kill a training run repeatedly; it must end with the bits of a run that was never stopped.

    python tests/soak/kill.py --kills 1000

A parent that has imported everything forks training processes. Each is killed with SIGKILL: at a
random instant, or before, after or in the middle of one of the calls that change the disk. Half of
the latter deaths simulate the loss of the machine: data that was not yet flushed to disk is undone
before the process dies. Then the run is resumed, and possibly killed again. Its results (weights,
every tensor of the last checkpoint, best weights, history, counters, figures) are compared with
those of the run that was never stopped. The exit code is 0 if nothing differs.
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
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tenfold.data import load_splits
from tenfold.deployment.bundle import KIND as BUNDLE
from tenfold.deployment.bundle import VERSION as BUNDLE_VERSION
from tenfold.errors import FileRefusedError
from tenfold.recipes import Recipe, load_recipe
from tenfold.runs import resume_run, train_run
from tenfold.runs.folder import RunFolder
from tenfold.runs.resources import Resources
from tenfold.storage import read_tensors
from tenfold.training.checkpoint import KIND as CHECKPOINT
from tenfold.training.checkpoint import VERSION as CHECKPOINT_VERSION
from tenfold.training.checkpoint import checkpoint_files
from tenfold.training.engine_table import ENGINES

EVERYTHING = Path(__file__).parent.parent / "runs" / "everything.toml"
CHECKPOINT_EVERY = "7"
"""In batches; chosen so that resuming starts in the middle of an epoch."""

MOST_DEATHS = 3
"""Maximum number of deaths per run."""

BY_PATH = ("mkdir", "open", "link", "replace", "rename", "unlink")
BY_DESCRIPTOR = ("write", "fsync", "close")


@dataclass(frozen=True)
class Death:
    """When a process dies.

    Attributes:
        after_seconds: time of death; None to die at a call.
        call: index of the call that changes the disk, from 0.
        moment: `before`, `after` or, for a write, `half`.
        machine: whether unflushed data is lost too.
    """

    after_seconds: float | None = None
    call: int = -1
    moment: str = "before"
    machine: bool = False


class Disk:
    """Intercepts this process's calls that change a folder, and dies at one of them.

    Attributes:
        prefix: the folder.
        parent: the folder that holds its name.
        death: when to die.
        calls: the names of the calls so far.
        descriptors: paths of the open files and folders.
        unsafe_data: files with data that was not flushed, as inodes, which stay the same when a
            file is renamed. Flushing the file makes its data safe, and nothing else does.
        unsafe_names: by path, what undoes a change of names. Flushing the path's folder makes
            its names safe, but not the data of its files.
        real: the functions that are intercepted.
    """

    def __init__(self, folder: Path, death: Death | None) -> None:
        self.prefix, self.parent, self.death = str(folder), str(folder.parent), death or Death()
        self.calls: list[str] = []
        self.descriptors: dict[int, str] = {}
        self.unsafe_data: set[int] = set()
        self.unsafe_names: dict[str, Callable[[], None]] = {}
        self.real = {name: getattr(os, name) for name in (*BY_PATH, *BY_DESCRIPTOR)}
        for name in BY_PATH:
            setattr(os, name, self._by_path(name))
        for name in BY_DESCRIPTOR:
            setattr(os, name, self._by_descriptor(name))

    def _by_path(self, name: str) -> Callable[..., object]:
        def call(path: object, *args: object, **kwargs: object) -> object:
            target = str(args[0]) if name in ("link", "replace", "rename") else str(path)
            is_ours = target.startswith(self.prefix) or target == self.parent
            if not is_ours or kwargs.get("dir_fd") is not None:
                return self.real[name](path, *args, **kwargs)
            number = self._about_to(name)
            undo = self._undo(name, str(path), target)
            result = self.real[name](path, *args, **kwargs)
            if undo is not None:
                self.unsafe_names[target] = undo
            if name == "open":
                self.descriptors[result] = target
            self._has_done(number)
            return result

        return call

    def _by_descriptor(self, name: str) -> Callable[..., object]:
        def call(descriptor: int, *args: object) -> object:
            path = self.descriptors.get(descriptor)
            if path is None:
                return self.real[name](descriptor, *args)
            number = self._about_to(name)
            if name == "write":
                if self._dies_at(number, "half"):
                    self.real["write"](descriptor, args[0][: len(args[0]) // 2])
                    self._die()
                self.unsafe_data.add(os.fstat(descriptor).st_ino)
            result = self.real[name](descriptor, *args)
            if name == "fsync":
                self.unsafe_data.discard(os.fstat(descriptor).st_ino)
                self._names_are_safe_in(path)
            if name == "close":
                del self.descriptors[descriptor]
            self._has_done(number)
            return result

        return call

    def _undo(self, name: str, source: str, target: str) -> Callable[[], None] | None:
        """A function that undoes a change of names whose folder has not been flushed."""
        if not self.death.machine or name not in ("mkdir", "replace"):
            return None
        if name == "mkdir":
            return lambda: shutil.rmtree(target)
        stash = f"{target}.stash"
        if Path(target).exists() and not Path(stash).exists():
            self.real["link"](target, stash)

        def undo() -> None:
            self.real["replace"](target, source)
            if Path(stash).exists():
                self.real["replace"](stash, target)

        return undo

    def _names_are_safe_in(self, folder: str) -> None:
        for path in list(self.unsafe_names):
            if str(Path(path).parent) == folder:
                del self.unsafe_names[path]
                if Path(f"{path}.stash").exists():
                    self.real["unlink"](f"{path}.stash")

    def _about_to(self, name: str) -> int:
        self.calls.append(name)
        number = len(self.calls) - 1
        if self._dies_at(number, "before"):
            self._die()
        return number

    def _has_done(self, number: int) -> None:
        if self._dies_at(number, "after"):
            self._die()

    def _dies_at(self, number: int, moment: str) -> bool:
        return (self.death.call, self.death.moment) == (number, moment)

    def _die(self) -> None:
        if self.death.machine:
            for file in filter(Path.is_file, Path(self.prefix).rglob("*")):
                if file.stat().st_ino in self.unsafe_data:
                    os.truncate(file, file.stat().st_size // 3)
        for path, undo in reversed(list(self.unsafe_names.items())):
            if self.death.machine and Path(path).exists():
                undo()
            if Path(f"{path}.stash").exists():
                self.real["unlink"](f"{path}.stash")
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Tally:
    """Counts and differences.

    Attributes:
        kills: number of processes killed.
        resumes: number of times a run was resumed.
        runs: number of runs compared.
        differences: from the run that was never stopped.
        phases: kills by the state of the run that they left behind.
        calls: kills by kind: at a random instant or at a call.
    """

    kills: int = 0
    resumes: int = 0
    runs: int = 0
    differences: list[str] = field(default_factory=list)
    phases: collections.Counter[str] = field(default_factory=collections.Counter)
    calls: collections.Counter[str] = field(default_factory=collections.Counter)


class Harness:
    """Runs of one recipe in forked processes."""

    def __init__(self, recipe: Recipe, data: str, resources: Resources, work: Path) -> None:
        self.recipe, self.data, self.resources, self.work = recipe, data, resources, work
        self._never_stopped(work / "first")
        for module in json.loads((work / "modules.json").read_text()):
            importlib.import_module(module)  # once, so that forked processes need not
        start = time.perf_counter()
        self.wanted = self._never_stopped(work / "second")
        self.seconds = time.perf_counter() - start
        self.calls = json.loads((work / "calls.json").read_text())
        if self.wanted != state_of(work / "first"):
            raise SystemExit("two runs that were never stopped differ: there is nothing to test")

    def _never_stopped(self, run: Path) -> dict[str, object]:
        if not self.session(run, None, CHECKPOINT_EVERY):
            raise SystemExit(f"the run that is never stopped failed:\n{self.log()}")
        return state_of(run)

    def log(self) -> str:
        """The output of the last process."""
        return (self.work / "log").read_text()

    def session(self, run: Path, death: Death | None, every: str) -> bool | None:
        """Start or resume a run in a process; returns whether it succeeded, None if it died."""
        child = os.fork()
        if child == 0:
            self._train(run, death, every)
        if death is not None and death.after_seconds is not None:
            time.sleep(death.after_seconds)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return None
        return os.waitstatus_to_exitcode(status) == 0

    def _train(self, run: Path, death: Death | None, every: str) -> None:
        """In the child: start or resume the run, and never return."""
        code = 1
        known = set(sys.modules)
        with (self.work / "log").open("w") as log:
            sys.stdout = sys.stderr = log
            try:
                at_an_instant = death is not None and death.after_seconds is not None
                calls = [] if at_an_instant else Disk(run, death).calls
                if (run / "run.json").exists():
                    resume_run(run, checkpoint_every=every)
                else:
                    train_run(
                        self.recipe,
                        self.data,
                        out=run,
                        resources=self.resources,
                        checkpoint_every=every,
                    )
                if run.name in ("first", "second"):
                    (self.work / "calls.json").write_text(json.dumps(calls))
                    new = [name for name in sys.modules if name not in known]
                    (self.work / "modules.json").write_text(json.dumps(new))
                code = 0
            except BaseException:  # noqa: BLE001 - no exception may leave the child
                traceback.print_exc()
        os._exit(code)

    def deaths(self, dice: random.Random) -> list[Death]:
        """Every moment of every call, in a random order."""
        every = [
            Death(call=number, moment=moment, machine=dice.random() < 0.5)
            for number, name in enumerate(self.calls)
            for moment in (("before", "half", "after") if name == "write" else ("before", "after"))
        ]
        dice.shuffle(every)
        return every

    def trial(self, number: int, deaths: list[Death], dice: random.Random, tally: Tally) -> None:
        """Take one run to its end, with one death from the list and possibly more."""
        run = self.work / f"run-{number}"
        for count in range(dice.randint(1, MOST_DEATHS)):
            at_call = deaths and (dice.random() < 0.5 if count else number % 4 > 0)
            if at_call and count == 0:
                death = deaths.pop()
            elif at_call:  # a resumed run makes different calls of the same kinds
                call = dice.randrange(len(self.calls))
                death = Death(call=call, moment=dice.choice(("before", "half", "after")))
            else:
                death = Death(after_seconds=dice.uniform(0, self.seconds))
            every = dice.choice((CHECKPOINT_EVERY, "", "0.05s")) if count else CHECKPOINT_EVERY
            before = phase_of(run)
            done = self.session(run, death, every)
            tally.resumes += before not in BEGINNINGS
            if done is False:
                tally.differences.append(f"run {number} could not be resumed: {self.log()}")
                return
            if done:
                break
            tally.kills += 1
            tally.phases[phase_of(run)] += 1
            where = "at a random instant" if death.call < 0 else f"{death.moment} a call"
            tally.calls[where + (", and the machine" if death.machine else "")] += 1
        tally.resumes += phase_of(run) not in BEGINNINGS
        if not self.session(run, None, dice.choice((CHECKPOINT_EVERY, ""))):
            tally.differences.append(f"run {number} could not be finished: {self.log()}")
            return
        tally.runs += 1
        found = state_of(run)
        tally.differences += [
            f"run {number}: {key} differs: {found.get(key)!r:.200}, wanted {value!r:.200}"
            for key, value in self.wanted.items()
            if found.get(key) != value
        ]
        shutil.rmtree(run)


BEGINNINGS = ("no folder", "a folder without run.json")


def phase_of(run: Path) -> str:
    """How far a run has got, judging by the disk."""
    folder = RunFolder(run)
    if not run.exists():
        return BEGINNINGS[0]
    if not folder.facts.exists():
        return BEGINNINGS[1]
    try:
        status = folder.read_facts().status
    except FileRefusedError:
        return "a damaged run.json"  # so the run cannot be resumed, which is a difference
    files = checkpoint_files(folder.checkpoints)
    if not files:
        return "before the first checkpoint"
    if status != "running":
        return f"marked as {status}"
    if folder.model.exists():
        return "while finishing, with its model"
    step, batches = int(files[0].name[5:14]), -(-1294 // 64)
    temporary = any(run.rglob(".*.tmp"))
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--engine", default="auto", choices=["auto", *ENGINES])
    parser.add_argument("--recipe", default=str(EVERYTHING))
    parser.add_argument("--data", default="digits")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a fork after a parallel region would hang
    load_splits(options.data)
    dice, tally = random.Random(options.seed), Tally()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tenfold-kill-") as work:
        resources = Resources(device="cpu", threads=options.threads, engine=options.engine)
        recipe = load_recipe(options.recipe)
        harness = Harness(recipe, options.data, resources, Path(work).resolve())
        deaths = harness.deaths(dice)
        points = len(deaths)
        number = 0
        while tally.kills < options.kills and len(tally.differences) < 20:
            harness.trial(number, deaths, dice, tally)
            number += 1
            if number % 50 == 0:
                print(f"{tally.kills} kills, {len(tally.differences)} differences", file=sys.stderr)
    report = {
        "kills": tally.kills,
        "resumes": tally.resumes,
        "runs": tally.runs,
        "compared": len(harness.wanted),
        "differences": len(tally.differences),
        "moments": points,
        "moments_hit": points - len(deaths),
        "left_behind": dict(tally.phases.most_common()),
        "died": dict(tally.calls.most_common()),
        "seconds": round(time.perf_counter() - start, 1),
    }
    for difference in tally.differences:
        print(difference, file=sys.stderr)
    if options.json:
        print(json.dumps(report))
    else:
        print(
            f"{report['kills']} kills, {report['resumes']} resumes, {report['runs']} runs compared "
            f"in {report['compared']} items each, {report['differences']} differences; "
            f"{report['moments_hit']} of the {points} moments of {len(harness.calls)} calls hit; "
            f"{report['seconds']} s"
        )
        for title, counts in (("left behind", tally.phases), ("died", tally.calls)):
            for name, count in counts.most_common():
                print(f"  {count:6} {title}: {name}")
    sys.exit(1 if tally.differences or not tally.kills else 0)


if __name__ == "__main__":
    main()
