"""A run that is stopped and resumed ends with the same bits as an uninterrupted one."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from kill import EVERYTHING, state_of
from PIL import Image

from command_line import Tenfold
from engines import ENGINES, needs_kernels
from stopping import StopsAt
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.errors import (
    DataError,
    FileRefusedError,
    InterruptedRunError,
    StorageError,
    UsageError,
)
from tenfold.recipes import Recipe, load_recipe, recipe_names
from tenfold.runs import evaluate_run, open_run, prepared, resume_run, session, train_run
from tenfold.runs.facts import RunFacts
from tenfold.runs.folder import RunFolder
from tenfold.runs.resources import Resources
from tenfold.training.checkpoint import Checkpointer, checkpoint_files
from tenfold.training.state import TrainingState
from tenfold.training.watching import Watcher
from thoroughness import some

SINGLE = Resources(threads=1)

NARROW: dict[str, dict[str, Any]] = {
    "convpool": {"channels": [2, 3], "kernels": [3, 3], "hidden": [8], "dropout": 0.3},
    "mlp": {"hidden": [16, 16]},
    "resnet-small": {"widths": [4, 8], "blocks": 1, "dropout": 0.1},
}
"""Arguments that make the wide models fast."""


def small(name: str) -> Recipe:
    """A recipe that comes with tenfold, over two short epochs."""
    recipe = load_recipe(name, {"epochs": 2, "batch_size": 16, "seed": 5})
    if recipe.model in NARROW:
        recipe = recipe.model_copy(update={"model_args": NARROW[recipe.model]})
    return recipe


def made_up(recipe: Recipe) -> Splits:
    """Six batches of random pictures in the shape that a recipe expects."""
    shape = {"cifar10": (3, 32, 32), "digits": (1, 8, 8)}.get(recipe.data, (1, 28, 28))
    generator = torch.Generator().manual_seed(1)

    def part(n: int, name: str) -> ImageDataset:
        images = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator)
        labels = torch.arange(n) % 4
        return ImageDataset(images, labels, ("a", "b", "c", "d"), split=name, source="made up")

    return Splits(part(90, "train"), part(32, "val") if recipe.val else None, part(32, "test"))


some_resources = pytest.mark.parametrize("resources", some(ENGINES[::-1]), indirect=True)
"""One engine where it makes no difference which, both if the tests are thorough."""


@pytest.fixture(scope="module", params=ENGINES)
def resources(request: pytest.FixtureRequest) -> Resources:
    """One thread of each engine."""
    return Resources(threads=1, engine=request.param)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe(name: str, tmp_path: Path, resources: Resources) -> None:
    """Stopped after the first batch, mid-epoch, at an epoch's end, and at two steps in a row."""
    recipe = small(name)
    data = made_up(recipe)
    train_run(recipe, data, out=tmp_path / "whole", resources=resources)
    run = tmp_path / "run"
    go_on = partial(train_run, recipe, out=run, resources=resources)
    for step in (1, 4, 6, 9, 10):
        with pytest.raises(InterruptedRunError):
            go_on(data=data, watcher=StopsAt(step))
        go_on = partial(resume_run, run)
        newest = checkpoint_files(run / "checkpoints")[0].name
        assert newest == f"step-{step:09d}.safetensors"
    assert go_on(data=data).status == "finished"
    assert state_of(run) == state_of(tmp_path / "whole")


def test_what_was_made_of_the_weights_before_is_named(tmp_path: Path, tenfold: Tenfold) -> None:
    line = "train digits --model softmax --epochs 1 --out run --no-report"
    assert tenfold(*line.split()).code == 0
    answer = tenfold(*["resume", "run", "--epochs", "2", "--no-report"])
    assert "made before" not in answer.err
    assert tenfold(*["export", "run", "--to", "state-dict"]).code == 0
    assert tenfold(*["show", "run", "--only", "history"]).code == 0
    answer = tenfold(*["resume", "run", "--epochs", "3", "--no-report"])
    assert (
        "note: run: made before this training, perhaps from earlier weights: "
        "model.pth, model.py, pictures; "
    ) in answer.err
    answer = tenfold(*["resume", "run", "--epochs", "3", "--no-report"])
    assert "nothing to do" in answer.err
    assert "made before" not in answer.err


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, resources: Resources) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train_run(load_recipe(EVERYTHING), out=run, resources=resources)
    return run


def test_stopped_again_and_again(tmp_path: Path, whole: Path, resources: Resources) -> None:
    """Stops include those just before, at and after the end of an epoch of 21 batches."""
    run = tmp_path / "run"

    def go_on(watcher: Watcher) -> None:
        if run.exists():
            resume_run(run, watcher=watcher)
        else:
            train_run(load_recipe(EVERYTHING), out=run, resources=resources, watcher=watcher)

    for step in (1, 2, 10, 20, 21, 22, 42, 55, 63, 64, 83):
        with pytest.raises(InterruptedRunError) as caught:
            go_on(StopsAt(step, [signal.SIGINT]))
        assert caught.value.exit_code == 130
        assert open_run(run).status == "interrupted"
    go_on(Watcher())
    assert state_of(run) == state_of(whole)


@some_resources
def test_early_stopping_counters_continue(tmp_path: Path, resources: Resources) -> None:
    recipe = load_recipe(EVERYTHING, {"patience": 1, "lr": 3.0, "epochs": 9})
    whole = train_run(recipe, out=tmp_path / "whole", resources=resources)
    assert whole.status == "stopped early"
    steps_before_the_end = 21 * (len(whole.history) - 1) + 10
    with pytest.raises(InterruptedRunError):
        train_run(
            recipe,
            out=tmp_path / "run",
            resources=resources,
            watcher=StopsAt(steps_before_the_end),
        )
    resumed = resume_run(tmp_path / "run")
    assert resumed.status == "stopped early"
    assert state_of(tmp_path / "run") == state_of(tmp_path / "whole")
    watcher = StopsAt()
    assert resume_run(tmp_path / "run", watcher=watcher).history == resumed.history
    assert "stopped early after" in watcher.notes[0]
    assert "nothing to do" in watcher.notes[0]


def test_several_threads_repeat_their_own_bits(tmp_path: Path) -> None:
    recipe = load_recipe(EVERYTHING, {"epochs": 1})
    resources = Resources(threads=2, engine="torch")
    train_run(recipe, out=tmp_path / "whole", resources=resources)
    with pytest.raises(InterruptedRunError):
        train_run(recipe, out=tmp_path / "run", resources=resources, watcher=StopsAt(10))
    resume_run(tmp_path / "run")
    assert state_of(tmp_path / "run") == state_of(tmp_path / "whole")


@needs_kernels
def test_the_kernels_give_the_same_bits_with_any_number_of_threads(tmp_path: Path) -> None:
    """Started with one number of threads, continued with another, finished with a third."""
    recipe, whole, run = load_recipe(EVERYTHING), tmp_path / "whole", tmp_path / "run"
    train_run(recipe, out=whole, resources=Resources(threads=1, engine="native"))
    resources = Resources(threads=4, engine="native")
    with pytest.raises(InterruptedRunError):
        train_run(recipe, out=run, resources=resources, watcher=StopsAt(30))
    with pytest.raises(InterruptedRunError):
        resume_run(run, resources=Resources(threads=3), watcher=StopsAt(50))
    resumed = resume_run(run, resources=Resources(threads=2))
    assert [session.threads for session in resumed.facts.sessions] == [4, 3, 2]
    assert all(session.bit_exact for session in resumed.facts.sessions)
    found, wanted = state_of(run), state_of(whole)
    found.pop("checkpoint: header")  # it says the number of threads
    wanted.pop("checkpoint: header")
    assert found == wanted


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("number", "code", "engine"),
    some(
        [
            (signal.SIGINT, 130, "torch"),
            (signal.SIGHUP, 129, "auto"),
            (signal.SIGTERM, 143, "auto"),
        ],
        2,
    ),
    ids=some(["SIGINT", "SIGHUP", "SIGTERM"], 2),
)
def test_signals_on_the_command_line(number: int, code: int, engine: str, tmp_path: Path) -> None:
    """The run finishes its step, saves, and shows the command that continues it."""
    run = tmp_path / "run"
    options = ["--out", run, "--threads", "1", "--engine", engine]
    endless = ["--set", "patience=0", "--epochs", "50000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tenfold", "train", "--recipe", EVERYTHING, *options, *endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: (run / "checkpoints" / "best.safetensors").exists(), process)
    process.send_signal(number)
    if number == signal.SIGHUP:  # a shell sends another one when a terminal is closed
        wait_for(lambda: _ignores(process, signal.SIGHUP), process)
        process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == code
    assert f"continue with: tenfold resume {run}" in error
    assert "stopped and saved" in error
    assert "Traceback" not in error
    stopped_at = checkpoint_files(run / "checkpoints")[0]
    again = resume_run(run, epochs=len(open_run(run).history) + 1)
    assert again.status == "finished"
    assert stopped_at.exists()


def _ignores(process: subprocess.Popen[str], number: int) -> bool:
    """Whether a process ignores a signal, or has ended, or that is not known here."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return True
    ignored = re.search(r"^SigIgn:\s*(\w+)$", status, re.MULTILINE)
    return ignored is None or bool(int(ignored[1], 16) >> (number - 1) & 1)


@some_resources
def test_the_suggested_command_ends_with_the_same_bits(
    tmp_path: Path, whole: Path, resources: Resources, tenfold: Tenfold
) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError) as caught:
        train_run(load_recipe(EVERYTHING), out=run, resources=resources, watcher=StopsAt(33))
    command = caught.value.remedy.partition("continue with: tenfold ")[2].split()
    assert command == ["resume", str(run)]
    answer = tenfold(*command)
    assert answer.code == 0, answer.err
    assert state_of(run) == state_of(whole)


@some_resources
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_come_together_mean_the_same(
    first: int, tmp_path: Path, resources: Resources
) -> None:
    """As `timeout` sends them, to the process and to its group."""
    watcher = StopsAt(10, [first, first, signal.SIGTERM])
    with pytest.raises(InterruptedRunError) as caught:
        train_run(
            load_recipe(EVERYTHING), out=tmp_path / "run", resources=resources, watcher=watcher
        )
    assert caught.value.exit_code == 128 + first
    assert (
        checkpoint_files(tmp_path / "run" / "checkpoints")[0].name == "step-000000010.safetensors"
    )


def test_a_second_signal_stops_at_once(
    tmp_path: Path, whole: Path, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenfold.runs.signals.MEANT_ONCE", 0.0)
    run = tmp_path / "run"
    twice = StopsAt(10, [signal.SIGTERM, signal.SIGINT])
    with pytest.raises(SystemExit) as caught:
        train_run(
            load_recipe(EVERYTHING),
            out=run,
            resources=resources,
            checkpoint_every="7",
            watcher=twice,
        )
    assert caught.value.code == 130
    newest = checkpoint_files(run / "checkpoints")[0]
    assert newest.name == "step-000000007.safetensors"  # nothing more was saved
    resume_run(run)
    assert state_of(run) == state_of(whole)


@some_resources
def test_ctrl_c_while_the_test_images_are_evaluated_loses_nothing(
    tmp_path: Path, whole: Path, resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepared.Prepared, "logits", interrupted)
        with pytest.raises(InterruptedRunError, match="all epochs are saved; evaluate") as raised:
            train_run(load_recipe(EVERYTHING), out=run, resources=resources)
    assert raised.value.exit_code == 130
    assert open_run(run).status == "interrupted"
    resume_run(run)
    assert state_of(run) == state_of(whole)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@some_resources
def test_a_signal_that_is_ignored_stays_ignored(
    tmp_path: Path, whole: Path, resources: Resources
) -> None:
    """As SIGHUP is under nohup."""
    run = tmp_path / "run"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stopping = StopsAt(10, [signal.SIGHUP])
        train_run(load_recipe(EVERYTHING), out=run, resources=resources, watcher=stopping)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert state_of(run) == state_of(whole)


@some_resources
def test_a_second_hang_up_changes_nothing(tmp_path: Path, resources: Resources) -> None:
    twice = StopsAt(10, [signal.SIGHUP, signal.SIGHUP])
    with pytest.raises(InterruptedRunError, match="stopped and saved") as raised:
        train_run(load_recipe(EVERYTHING), out=tmp_path / "run", resources=resources, watcher=twice)
    assert raised.value.exit_code == 129


def test_a_session_that_ends_sends_several_signals(tmp_path: Path) -> None:
    several = StopsAt(10, [signal.SIGHUP, signal.SIGTERM])
    with pytest.raises(InterruptedRunError, match="stopped and saved") as raised:
        train_run(load_recipe(EVERYTHING), out=tmp_path / "run", resources=SINGLE, watcher=several)
    assert raised.value.exit_code == 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_results_are_written_comes_after_them(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = RunFolder.write_facts, []

    def write(folder: RunFolder, facts: RunFacts) -> None:
        if facts.has_ended:
            os.kill(os.getpid(), number)
        real(folder, facts)

    before = signal.signal(number, lambda *_: seen.append(number))
    try:
        monkeypatch.setattr(RunFolder, "write_facts", write)
        train_run(load_recipe(EVERYTHING), out=tmp_path / "run", resources=SINGLE)
    finally:
        signal.signal(number, before)
    assert seen == [number]
    assert open_run(tmp_path / "run").status == "finished"


@pytest.mark.parametrize("where", ["save", "write_bundle"])
def test_a_write_that_fails_at_either_end_of_a_session_is_a_failure(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = after_one_epoch(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space")

    with monkeypatch.context() as patched:
        if where == "save":
            patched.setattr(Checkpointer, "save", full)
        else:
            patched.setattr(session, "write_bundle", full)
        with pytest.raises(StorageError):
            resume_run(run, epochs=2)
    assert open_run(run).status == "failed"
    assert open_run(run).facts.failure == "no space"
    assert resume_run(run).status == "finished"


def test_bad_images_of_a_resumed_run_cannot_be_skipped(tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * number).save(path)
    run = tmp_path / "run"
    recipe = load_recipe("digits-quick", {"data": str(tmp_path / "photos"), "epochs": 2})
    with pytest.raises(InterruptedRunError):
        train_run(recipe, out=run, resources=SINGLE, watcher=StopsAt(1))
    path.write_bytes(b"torn")
    for act in (resume_run, evaluate_run):
        with pytest.raises(DataError) as raised:
            act(run)
        assert raised.value.remedy == "put back what was there when the run was trained"


def test_signal_handlers_are_restored(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(InterruptedRunError):
        train_run(
            load_recipe(EVERYTHING),
            out=tmp_path / "run",
            resources=Resources(threads=1),
            watcher=StopsAt(2),
        )
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_finished_run_has_nothing_to_do(whole: Path) -> None:
    def contents() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(whole.rglob("*")) if p.is_file()}

    before = contents()
    watcher = StopsAt()
    run = resume_run(whole, watcher=watcher)
    assert run.status == "finished"
    further = "to train further, add --epochs with more than 4"
    assert watcher.notes == [f"{whole}: the run finished after 4 epochs, nothing to do; {further}"]
    assert contents() == before


CONSTANT = {"schedule": "constant", "warmup_epochs": 0, "patience": 0}


def test_more_epochs_give_the_same_as_a_longer_run(tmp_path: Path, resources: Resources) -> None:
    """Bit for bit, if the schedule does not stretch; a stop in between needs no --epochs."""
    longer = load_recipe(EVERYTHING, {**CONSTANT, "epochs": 4})
    train_run(longer, out=tmp_path / "whole", resources=resources)
    run = tmp_path / "run"
    train_run(load_recipe(EVERYTHING, {**CONSTANT, "epochs": 2}), out=run, resources=resources)
    with pytest.raises(InterruptedRunError):
        resume_run(run, epochs=4, watcher=StopsAt(43))
    assert open_run(run).figures == {}
    resume_run(run)
    assert state_of(run) == state_of(tmp_path / "whole")


def after_one_epoch(tmp_path: Path, resources: Resources = SINGLE) -> Path:
    """A finished run whose learning rate does not depend on the number of epochs."""
    recipe = load_recipe(EVERYTHING, {**CONSTANT, "epochs": 1})
    return train_run(recipe, out=tmp_path / "run", resources=resources).folder


@contextmanager
def dies_before(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> Iterator[None]:
    """The process dies inside the block, just before this call."""

    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, die)
        with pytest.raises(KeyboardInterrupt):
            yield


def test_more_epochs_are_remembered_immediately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed right after its start, a longer run continues without --epochs."""
    run = after_one_epoch(tmp_path)
    with dies_before(monkeypatch, prepared, "train_loop"):
        resume_run(run, epochs=2)
    assert len(resume_run(run).history) == 2


def test_dying_before_the_first_checkpoint_of_more_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resources: Resources
) -> None:
    longer = load_recipe(EVERYTHING, {**CONSTANT, "epochs": 2})
    train_run(longer, out=tmp_path / "whole", resources=resources)
    run = after_one_epoch(tmp_path, resources)
    with dies_before(monkeypatch, Checkpointer, "save"):
        resume_run(run, epochs=2)
    resumed = resume_run(run)
    assert [session.bit_exact for session in resumed.facts.sessions] == [True, True, True]
    assert state_of(run) == state_of(tmp_path / "whole")


def test_dying_before_the_first_checkpoint_of_an_accepted_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_run(
            load_recipe(EVERYTHING), out=run, resources=Resources(threads=1), watcher=StopsAt(35)
        )
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("lr = ", "lr = 0.5 # ", 1))
    with dies_before(monkeypatch, Checkpointer, "save"):
        resume_run(run, accept=["recipe"])
    resumed = resume_run(run)  # an accepted change need not be accepted again
    assert resumed.recipe.lr == 0.5
    assert [session.bit_exact for session in resumed.facts.sessions] == [True, False, False]
    (run / "recipe.toml").write_text(text)  # and the old value is now a change
    with pytest.raises(FileRefusedError, match=r"recipe\.lr was 0\.5, is "):
        resume_run(run, epochs=9)


def test_an_accepted_change_does_not_let_another_run_in(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    for out, seed, step in ((run, 0, 35), (other, 5, 50)):
        recipe = load_recipe(EVERYTHING, {"seed": seed})
        with pytest.raises(InterruptedRunError):
            train_run(recipe, out=out, resources=Resources(threads=1), watcher=StopsAt(step))
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("lr = ", "lr = 0.5 # ", 1))
    with pytest.raises(InterruptedRunError):
        resume_run(run, accept=["recipe"], watcher=StopsAt(40))
    alone = shutil.copytree(run, tmp_path / "alone")
    foreign = shutil.copy(checkpoint_files(other / "checkpoints")[0], run / "checkpoints")
    watcher = StopsAt()
    resume_run(run, watcher=watcher)
    assert f"skipped a newer checkpoint: {foreign}: it does not belong to this run" in watcher.notes
    Path(f"{foreign}.foreign").unlink()
    resume_run(alone)
    assert state_of(run) == state_of(alone)


@pytest.mark.parametrize("is_alone", [True, False])
def test_a_checkpoint_of_another_run_in_the_place_of_ones_own(
    is_alone: bool, tmp_path: Path
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    for out, seed in ((run, 0), (other, 5)):
        recipe = load_recipe(EVERYTHING, {"seed": seed})
        with pytest.raises(InterruptedRunError):
            train_run(recipe, out=out, resources=SINGLE, watcher=StopsAt(35), checkpoint_every="7")
    newest, *older = checkpoint_files(run / "checkpoints")
    shutil.copy(checkpoint_files(other / "checkpoints")[0], newest)
    if is_alone:
        older[0].unlink()
        with pytest.raises(FileRefusedError, match=r"not what the run was trained with: .*seed"):
            resume_run(run)
    else:
        resume_run(run)
        train_run(load_recipe(EVERYTHING), out=tmp_path / "whole", resources=SINGLE)
        Path(f"{newest}.foreign").unlink()
        assert state_of(run) == state_of(tmp_path / "whole")


@pytest.mark.parametrize("is_accepted_twice", [False, True])
def test_what_was_accepted_stays_so_however_often_the_process_dies(
    is_accepted_twice: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each dies before a checkpoint has recorded what was accepted."""
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_run(load_recipe(EVERYTHING), out=run, resources=SINGLE, watcher=StopsAt(35))
    text = (run / "recipe.toml").read_text()
    for lr in ("0.5", "0.4")[: 1 + is_accepted_twice]:
        (run / "recipe.toml").write_text(text.replace("lr = ", f"lr = {lr} # ", 1))
        with dies_before(monkeypatch, Checkpointer, "save"):
            resume_run(run, accept=["recipe"])
    with dies_before(monkeypatch, Checkpointer, "save"):
        resume_run(run, epochs=5)
    watcher = StopsAt()
    resumed = resume_run(run, watcher=watcher)
    assert len(resumed.history) == 5
    assert not list((run / "checkpoints").glob("*.foreign"))


def test_more_epochs_do_not_make_it_forget_what_was_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint from before the change is still the run's, if the one after it is damaged."""
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_run(
            load_recipe(EVERYTHING),
            out=run,
            resources=SINGLE,
            watcher=StopsAt(35),
            checkpoint_every="10",
        )
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("lr = ", "lr = 0.5 # ", 1))
    save = Checkpointer.save

    def save_and_die(checkpointer: Checkpointer, state: TrainingState) -> None:
        save(checkpointer, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Checkpointer, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            resume_run(run, accept=["recipe"])
    newest, _ = checkpoint_files(run / "checkpoints")
    with dies_before(monkeypatch, Checkpointer, "save"):
        resume_run(run, epochs=5)
    newest.write_bytes(newest.read_bytes()[:-9])
    assert len(resume_run(run).history) == 5


@pytest.mark.parametrize("name", ["model.safetensors", "metrics.jsonl"])
def test_what_cannot_be_read_now_is_not_written_again(
    name: str, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = (whole / name).read_bytes(), os.open

    def refusing(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path) == str(whole / name):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refusing)
        with pytest.raises(FileRefusedError, match="Too many open files; close other files"):
            resume_run(whole)
    assert (whole / name).read_bytes() == before


@pytest.mark.parametrize("what", ["checkpoints/step-", "checkpoints"])
def test_what_cannot_be_read_now_is_not_damaged(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_run(load_recipe(EVERYTHING), out=run, resources=SINGLE, watcher=StopsAt(35))

    def contents() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in run.rglob("*") if path.is_file()}

    before = contents()

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if str(path).startswith(str(run / what)):
                raise PermissionError(errno.EACCES, "Permission denied")
            return real(path, *args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refusing(os.open))
        patched.setattr(os, "scandir", refusing(os.scandir))
        with pytest.raises(
            FileRefusedError, match=r"Permission denied; make it readable for this user$"
        ):
            resume_run(run)
    assert contents() == before
    assert resume_run(run).status == "finished"


def test_dying_between_recipe_and_facts_is_repaired_by_the_suggested_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = after_one_epoch(tmp_path)
    with dies_before(monkeypatch, RunFolder, "write_facts"):
        resume_run(run, epochs=2)
    with pytest.raises(
        FileRefusedError, match=r"epochs was 1, is 2; .* with: tenfold resume .* --epochs 2$"
    ):
        resume_run(run)
    assert len(resume_run(run, epochs=2).history) == 2


HOLD = """
import sys, time
from pathlib import Path
from tenfold.runs.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    time.sleep(600)
"""


def test_two_processes_cannot_write_one_run(tmp_path: Path, tenfold: Tenfold) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_run(
            load_recipe(EVERYTHING), out=run, resources=Resources(threads=1), watcher=StopsAt(5)
        )
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    holder = subprocess.Popen([sys.executable, "-c", HOLD, run], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    answer = tenfold("resume", str(run))
    assert answer.code == 4
    assert "another process is writing this run; wait for it or stop it" in answer.err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    holder.kill()  # its lock dies with it
    holder.communicate()
    assert tenfold("resume", str(run), "--quiet").code == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows locks in another way")
@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EPERM, "; make it writable"),
        (errno.EROFS, "; make it writable"),
        (errno.ENOSPC, "; free some space there"),
        (errno.EMFILE, "; close other files, or raise the limit on open files"),
        (errno.EOPNOTSUPP, "; move the run to another file system"),
        (errno.ESTALE, "; try again later"),
        (errno.EIO, ""),
    ],
)
def test_a_folder_that_cannot_be_locked(
    number: int, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StorageError) as caught, RunFolder(tmp_path).locked():
        pass
    said = f"{tmp_path}: the folder cannot be locked: {os.strerror(number)}{remedy}"
    assert str(caught.value) == said


def test_two_new_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with (
        RunFolder(run).locked(),
        pytest.raises(FileRefusedError, match="another process is writing"),
    ):
        train_run(load_recipe(EVERYTHING), out=run, resources=Resources(threads=1))


def test_a_folder_that_another_run_took_in_the_meantime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenfold.runs import train as module

    def slow(*args: Any) -> RunFolder:
        folder = real(*args)
        (folder.path / "run.json").write_text("another run's")
        return folder

    real = module.new_run
    monkeypatch.setattr(module, "new_run", slow)
    with pytest.raises(UsageError, match="already exists and is not an empty folder"):
        train_run(load_recipe(EVERYTHING), out=tmp_path / "run", resources=Resources(threads=1))
    assert (tmp_path / "run" / "run.json").read_text() == "another run's"


def test_a_start_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    """The folder is locked, and the recipe written, before there is a run to resume."""
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lock").touch()
    (run / "recipe.toml").write_text(EVERYTHING.read_text())
    recipe = load_recipe(EVERYTHING, {"epochs": 1})
    assert train_run(recipe, out=run, resources=Resources(threads=1)).status == "finished"
    assert open_run(run).recipe.epochs == 1


def test_a_users_own_recipe_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(EVERYTHING.read_text())
    with pytest.raises(UsageError, match="already exists and is not an empty folder"):
        train_run(
            load_recipe(tmp_path / "recipe.toml"), out=tmp_path, resources=Resources(threads=1)
        )
    assert (tmp_path / "recipe.toml").read_text() == EVERYTHING.read_text()


@pytest.mark.parametrize(
    ("threads", "note"),
    [
        (2, "no longer bit-exact: threads was 1, is 2"),
        (None, "no longer bit-exact: torch was"),
    ],
    ids=["threads", "PyTorch"],
)
def test_other_conditions_are_allowed_and_noted(
    threads: int | None, note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_run(
            load_recipe(EVERYTHING, {"epochs": 2}),
            out=run,
            resources=Resources(threads=1, engine="torch"),
            watcher=StopsAt(33),
        )
    if threads is None:
        monkeypatch.setattr(torch, "__version__", "99.0")
    watcher = StopsAt()
    resumed = resume_run(run, resources=Resources(threads=threads), watcher=watcher)
    assert any(each.startswith(note) for each in watcher.notes)
    first, second = resumed.facts.sessions
    assert (first.bit_exact, second.bit_exact) == (True, False)
    assert any(each.startswith(note) for each in second.notes)


@pytest.mark.parametrize(
    ("key", "old", "new", "batches"),
    [("batch_size", "64", "128", 12), ("seed", "0", "7", 23), ("shuffle", "true", "false", 23)],
)
def test_an_accepted_change_of_the_order_restarts_the_epoch(
    key: str, old: str, new: str, batches: int, tmp_path: Path
) -> None:
    """All 1,438 images are for training; which are held out for validation depends on the seed."""
    run = tmp_path / "run"
    recipe = load_recipe(EVERYTHING, {"val": 0.0, "patience": 0})
    with pytest.raises(InterruptedRunError):
        train_run(recipe, out=run, resources=Resources(threads=1), watcher=StopsAt(35))
    text = (run / "recipe.toml").read_text()
    assert f"\n{key} = {old}\n" in text
    (run / "recipe.toml").write_text(text.replace(f"\n{key} = {old}\n", f"\n{key} = {new}\n"))
    watcher = StopsAt(36)
    with pytest.raises(InterruptedRunError):
        resume_run(run, accept=["recipe"], watcher=watcher)
    said = (old.title(), new.title()) if key == "shuffle" else (old, new)
    assert "accepted: recipe.{} was {}, is {}".format(key, *said) in watcher.notes
    assert "epoch 2 starts over, because its order changed" in watcher.notes
    resumed = resume_run(run)  # an accepted change need not be accepted again
    assert len(resumed.history) == 4
    newest = checkpoint_files(run / "checkpoints")[0].name
    assert newest == f"step-{35 + 3 * batches:09d}.safetensors"


def test_data_passed_in_python_is_passed_again(tmp_path: Path) -> None:
    recipe = small("digits-quick")
    data = made_up(recipe)
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_run(recipe, data, out=run, resources=Resources(threads=1), watcher=StopsAt(2))
    with pytest.raises(UsageError, match="passed in Python; resume in Python") as caught:
        resume_run(run)
    assert caught.value.remedy.endswith(f"tenfold.resume({str(run)!r}, data=data)")
    with pytest.raises(FileRefusedError, match=r"the train images or labels have changed"):
        resume_run(run, data="digits")


def test_a_run_cannot_end_at_an_epoch_that_it_is_past(tmp_path: Path) -> None:
    """Its model would be one of neither epoch."""
    run = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train_run(small("digits-quick"), out=run, watcher=StopsAt(100))
    before = (run / "run.json").read_bytes()
    with pytest.raises(
        UsageError, match="already in epoch 2, so it cannot end after epoch 1"
    ) as no:
        resume_run(run, epochs=1)
    assert no.value.remedy == "choose --epochs 2 or more"
    assert (run / "run.json").read_bytes() == before
    assert len(resume_run(run, epochs=2).history) == 2


def test_a_run_from_before_copies_were_kept_together_keeps_its_parts(tmp_path: Path) -> None:
    """Its files do not say whether they were: they were not."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)
    data = ImageDataset(images.repeat(3, 1, 1, 1), torch.arange(120) % 4, "abcd")
    recipe = load_recipe(
        "default", {"model": "softmax", "epochs": 2, "val": 0.3, "duplicates_together": False}
    )
    run = train_run(recipe, data, out=tmp_path / "whole", resources=SINGLE)
    stopped = tmp_path / "stopped"
    with pytest.raises(InterruptedRunError):
        train_run(recipe, data, out=stopped, resources=SINGLE, watcher=StopsAt(1))
    path = stopped / "run.json"
    facts = json.loads(path.read_text())
    del facts["data"]["corrections"]
    path.write_text(json.dumps(facts | {"format": 3}))
    path = stopped / "recipe.toml"
    path.write_text(path.read_text().replace("duplicates_together = false\n", ""))
    resumed = resume_run(stopped, data=data, resources=SINGLE)
    assert resumed.recipe.duplicates_together is False
    assert {**state_of(resumed.folder), "recipe": ""} == {**state_of(run.folder), "recipe": ""}
