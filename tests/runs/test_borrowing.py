"""A run restores the process's settings, and no two threads run at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch

import tenfold
from engines import ENGINES
from tenfold.data import load_splits
from tenfold.errors import UsageError
from tenfold.evaluation.flushing import FlushingThread, flushing_logits
from tenfold.recipes import load_recipe
from tenfold.runs import Run
from tenfold.runs.fit import Fitted, fit
from tenfold.runs.resources import Resources
from tenfold.training import Watcher
from thoroughness import only_if_thorough, some

RECIPE = load_recipe("digits-quick", {"epochs": 1, "model": "mlp", "model_args.hidden": [8]})


def settings_of_the_process() -> dict[str, object]:
    """Everything a caller might notice, except `random`: type checks draw from it in tests."""
    numpy_state = np.random.get_state()  # noqa: NPY002 - the caller's
    return {
        "environment": {k: v for k, v in os.environ.items() if not k.startswith("TORCHINDUCTOR")},
        "working directory": Path.cwd(),
        "NumPy's random": (numpy_state[1].tolist(), *numpy_state[2:]),
        "PyTorch's random": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "flush denormals": bool(torch.tensor(1e-310, dtype=torch.float64) * 0.5 == 0),
        "cuDNN": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "gradients": torch.is_grad_enabled(),
        "default type": torch.get_default_dtype(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "matplotlib": dict(mpl.rcParams),
        "threads of Python's": {t for t in threading.enumerate() if t.name.startswith("tenfold")},
    }


def trained(engine: str, folder: Path) -> Run:
    """A run whose drawings do not matter."""
    return tenfold.train(
        recipe=RECIPE, out=folder / "run", threads=2, engine=engine, quiet=True, report=False
    )


USES: dict[str, Callable[[str, Path], object]] = {
    "read": lambda _, __: load_splits("digits"),
    "fit": lambda engine, _: fit(RECIPE, resources=Resources(threads=2, engine=engine)).figures,
    "train": lambda engine, folder: tenfold.train(
        recipe=RECIPE, out=folder / "run", threads=2, engine=engine, quiet=True, plot=True
    ),
    "evaluate": lambda engine, folder: tenfold.evaluate(trained(engine, folder)),
    "predict": lambda engine, folder: trained(engine, folder).model.predict(
        load_splits("digits").splits.train
    ),
}


@pytest.mark.parametrize("engine", some(ENGINES[::-1]))
@pytest.mark.parametrize("use", USES)
def test_the_callers_settings_are_restored(use: str, engine: str, tmp_path: Path) -> None:
    USES[use](engine, tmp_path / "before")  # imports and one-time setup happen now
    before = settings_of_the_process()
    USES[use](engine, tmp_path)
    after = settings_of_the_process()
    assert [name for name in before if before[name] != after[name]] == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("own", [False, True])
def test_settings_unlike_a_runs_are_restored(
    own: bool, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those from before could be what an earlier run left behind."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    if not own:
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    for flag in ("deterministic", "benchmark"):  # a run sets one of them and clears the other
        monkeypatch.setattr(torch.backends.cudnn, flag, own)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        torch.set_flush_denormal(own)
        torch.manual_seed(12345)
        before = settings_of_the_process()
        fit(RECIPE, resources=Resources(threads=2, engine=engine))
        after = settings_of_the_process()
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
    names = ("environment", "PyTorch's random", "threads", "flush denormals", "cuDNN")
    assert [name for name in names if before[name] != after[name]] == []
    assert (before["flush denormals"], before["cuDNN"]) == (own, (own, own))


@only_if_thorough
def test_importing_and_training_leave_the_random_module_alone(tmp_path: Path) -> None:
    """In a new process: a module that draws a number on import does so only once."""
    code = f"""
import random
before = random.getstate()
import tenfold, tenfold.notebook
for engine in ("torch", "auto"):
    out = {str(tmp_path)!r} + "/" + engine
    run = tenfold.train("digits", epochs=1, out=out, engine=engine, quiet=True, plot=True)
    tenfold.evaluate(run)
    run.model.predict(tenfold.data.load_splits("digits").splits.train)
    assert random.getstate() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("has_workers_before", some([True, False]))
def test_denormals_are_flushed_in_a_run_and_nowhere_else(
    has_workers_before: bool, tmp_path: Path
) -> None:
    """Also in PyTorch's workers, both those from before and those started later."""
    code = f"""
import json, torch, tenfold
torch.set_num_threads(2)
def kept():
    denormals = torch.full((2**20,), 1000, dtype=torch.int32).view(torch.float32)
    return int((denormals * 0.5).view(torch.int32).count_nonzero())
if {has_workers_before}:
    kept()
run = tenfold.train(
    "digits", epochs=1, out={str(tmp_path / "run")!r}, engine="torch", threads=2, quiet=True
)
print(json.dumps([run.facts.conditions.denormals, kept()]))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout) == ["flushed", 2**20]


# ---- One thread at a time ----------------------------------------------------------------------


class Does(Watcher):
    """Does something once while a run is training, and keeps the result."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action, self.outcome = action, None

    def epoch_done(self, metrics: object, epochs: int) -> None:
        if self.outcome is None:
            try:
                self.outcome = self.action()
            except UsageError as error:
                self.outcome = error


def fitted(engine: str, watcher: Watcher | None = None) -> Fitted:
    return fit(RECIPE, resources=Resources(threads=1, engine=engine), watcher=watcher)


def in_another_thread(action: Callable[[], object]) -> object:
    outcome: list[object] = []

    def work() -> None:
        try:
            outcome.append(action())
        except UsageError as error:
            outcome.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return outcome[0]


def weights(run: Fitted) -> list[list[float]]:
    return [tensor.flatten().tolist() for tensor in run.weights.values()]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_thread_is_refused_and_changes_nothing(engine: str) -> None:
    watcher = Does(lambda: in_another_thread(lambda: fitted(engine)))
    assert weights(fitted(engine, watcher)) == weights(fitted(engine))
    assert isinstance(watcher.outcome, UsageError)
    assert "another thread of this process is training or evaluating" in str(watcher.outcome)


def test_one_thread_after_the_other_trains_the_same() -> None:
    there, here = in_another_thread(lambda: fitted("auto")), fitted("auto")
    assert isinstance(there, Fitted)
    assert weights(there) == weights(here)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_watcher_may_train_and_evaluate(engine: str, tmp_path: Path) -> None:
    watcher = Does(lambda: tenfold.evaluate(tenfold.train(recipe=RECIPE, out=tmp_path / "run")).n)
    assert weights(fitted(engine, watcher)) == weights(fitted(engine))
    assert watcher.outcome == 359


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@only_if_thorough
def test_a_process_forked_during_training_can_train(tmp_path: Path) -> None:
    """Even though the thread that was training does not exist in it."""
    code = f"""
import os, sys, threading
import torch
torch.set_num_threads(1)
import tenfold
from tenfold.training import Watcher
forked = []
class Forks(Watcher):
    def epoch_done(self, metrics, epochs):
        if not forked:
            forked.append(os.fork())
            if forked[0] == 0:
                run = tenfold.train("digits", epochs=1, out={str(tmp_path / "child")!r}, threads=1)
                os._exit(0 if run.status == "finished" else 1)
def train():
    out = {str(tmp_path / "parent")!r}
    tenfold.train("digits", epochs=1, out=out, threads=1, engine="native", watcher=Forks())
thread = threading.Thread(target=train)
thread.start()
thread.join()
_, status = os.waitpid(forked[0], 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False)
    assert answer.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_several_threads_are_refused_where_a_fork_has_lost_them(tmp_path: Path) -> None:
    """PyTorch would wait for them forever; with one thread, or in a new process, all is well."""
    code = f"""
import os, sys
import tenfold
run = tenfold.train(
    "digits", epochs=1, out={str(tmp_path / "run")!r}, threads=2, engine="torch", quiet=True
)
child = os.fork()
if child == 0:
    try:
        tenfold.evaluate(run)
    except tenfold.UsageError as error:
        same = tenfold.evaluate(run, threads=1).test_acc == run.figures["test_acc"]
        os._exit(0 if same and "choose threads=1" in str(error) else 1)
    os._exit(2)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False)
    assert answer.returncode == 0


USES_OF_THREADS = {
    "training": "tenfold.train('digits', epochs=1, out=out + str(os.getpid()), threads=2)",
    "predicting": (
        "torch.set_num_threads(2); model = tenfold.load(out + parent); "
        "model.module; model.predict(test)"
    ),
    "a loop by hand": "torch.set_num_threads(2); tenfold.training.train_epoch(net, batches, sgd)",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@only_if_thorough
def test_a_model_loaded_before_a_fork_predicts_after_it(tmp_path: Path) -> None:
    """As in a server that loads the model once, and then forks its workers."""
    code = f"""
import os, sys, torch
import tenfold
out = {str(tmp_path / "run")!r}
tenfold.train("digits", model="softmax", epochs=1, out=out, threads=1, quiet=True)
torch.set_num_threads(2)
model, test = tenfold.load(out), tenfold.data.load_splits("digits").splits.test
child = os.fork()
if child == 0:
    os._exit(0 if len(model.predict(test)) == 359 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False)
    assert answer.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.parametrize(
    ("before", "after"),
    some(
        [
            ("training", "predicting"),
            ("predicting", "a loop by hand"),
            ("a loop by hand", "training"),
        ]
    ),
)
def test_lost_threads_are_refused_whatever_they_are_for(
    before: str, after: str, tmp_path: Path
) -> None:
    code = f"""
import os, signal, sys, torch
import tenfold
out, parent = {str(tmp_path / "run")!r}, str(os.getpid())
test = tenfold.data.load_splits("digits").splits.test
tenfold.train("digits", epochs=1, out=out + parent, threads=1, quiet=True)
batches = tenfold.data.DataLoader(test, batch_size=300, scale=True)
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
sgd = torch.optim.SGD(net.parameters(), lr=0.1)
{USES_OF_THREADS[before].replace("getpid()", "getppid()")}
child = os.fork()
if child == 0:
    signal.alarm(60)  # without the refusal it would wait forever
    try:
        {USES_OF_THREADS[after]}
    except tenfold.UsageError as error:
        os._exit(0 if "forked from one that had used several threads" in str(error) else 1)
    os._exit(2)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False)
    assert answer.returncode == 0


def test_a_run_in_a_thread_outlives_the_main_thread(tmp_path: Path) -> None:
    """Which ends during the run's first epoch."""
    code = f"""
import threading
import torch
torch.set_num_threads(1)
import tenfold
from tenfold.training import Watcher
class WaitsForTheEnd(Watcher):
    def epoch_done(self, metrics, epochs):
        threading.main_thread().join()
tenfold.train("digits", epochs=1, out={str(tmp_path / "first")!r}, threads=1, engine="torch")
def train():
    out = {str(tmp_path / "run")!r}
    options = dict(epochs=2, threads=1, engine="torch", watcher=WaitsForTheEnd())
    tenfold.train("digits", out=out, **options)
threading.Thread(target=train).start()
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert tenfold.open_run(tmp_path / "run").status == "finished"


def test_ctrl_c_in_an_evaluation_waits_for_one_batch_alone() -> None:
    """A pass over all images may take minutes."""
    batches = []

    class Interrupted(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            batches.append(len(images))
            if len(batches) == 2:
                signal.raise_signal(signal.SIGINT)
            return torch.zeros(len(images), 2)

    images = torch.zeros(100, 1, 2, 2, dtype=torch.uint8)
    # Where the tests run in the background, the signal is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            flushing_logits(Interrupted(), images, 10)
    finally:
        signal.signal(signal.SIGINT, before)
    assert batches == [10, 10]
    assert not [thread for thread in threading.enumerate() if thread.name == "tenfold"]


def test_an_error_in_the_thread_is_the_callers() -> None:
    class MineError(Exception):
        pass

    def fails() -> None:
        raise MineError("this one")

    with FlushingThread() as thread:
        with pytest.raises(MineError, match="this one"):
            thread(fails)
        assert thread(lambda: torch.is_grad_enabled())
    with FlushingThread() as thread, torch.inference_mode():
        assert not thread(torch.is_inference_mode_enabled)


def test_a_result_is_kept_only_by_the_caller() -> None:
    """The next call may come much later."""

    class Large:
        pass

    gone = threading.Event()
    with FlushingThread() as thread:
        result = thread(Large)
        weakref.finalize(result, gone.set)
        del result
        assert gone.wait(60)


def test_a_thread_that_is_never_closed_does_not_keep_the_program_running() -> None:
    code = """
import faulthandler
from tenfold.evaluation.flushing import FlushingThread
thread = FlushingThread()
thread(int)
faulthandler.dump_traceback_later(60, exit=True)  # else a program that waits would never end
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_forked_copy_gets_a_thread_of_its_own() -> None:
    code = """
import os, signal, sys
from tenfold.evaluation.flushing import FlushingThread
thread = FlushingThread()
assert thread(os.getpid) == os.getpid()
child = os.fork()
if child == 0:
    signal.alarm(60)  # else a copy that waits for the parent's thread would never end
assert thread(os.getpid) == os.getpid()
thread.close()
if child != 0:
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False)
    assert answer.returncode == 0
