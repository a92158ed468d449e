"""A full or failing disk: the old file stays, nothing is left behind, and an error says why."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from engines import needs_kernels
from tenfold.deployment.bundle import VERSION as BUNDLE_VERSION
from tenfold.errors import StorageError, TrainingError
from tenfold.native.network import CompiledNetwork
from tenfold.recipes import load_recipe
from tenfold.runs import open_run, resume_run, train_run
from tenfold.runs.folder import RunFolder
from tenfold.runs.resources import Resources
from tenfold.storage import make_folder, write_bytes
from tenfold.training.checkpoint import KIND, VERSION, checkpoint_files
from tenfold.training.state import TrainingState
from tensor_files import read_tensors, sha256_of_tensors, write_tensors

EVERYTHING = Path(__file__).parent / "everything.toml"
ERRORS = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE]
CALLS = ["open", "write", "fsync", "close", "replace"]


@contextmanager
def failing(name: str, nth: int, error: int, within: Path) -> Iterator[list[str]]:
    """Make the nth call of an `os` function on a folder fail; yields the calls made."""
    real: dict[str, Callable[..., Any]] = {each: getattr(os, each) for each in CALLS}
    descriptors: set[int] = set()
    calls: list[str] = []

    def wrapped(each: str) -> Callable[..., Any]:
        def call(first: Any, *rest: Any, **kwargs: Any) -> Any:
            concerns = first in descriptors if each in ("write", "fsync", "close") else None
            if concerns is None:
                concerns = str(first).startswith(str(within))
            if not concerns:
                return real[each](first, *rest, **kwargs)
            calls.append(each)
            if each == name and calls.count(each) == nth + 1:
                if each == "close":  # as on a network disk: it closes the file and reports the loss
                    real[each](first)
                raise OSError(error, os.strerror(error))
            result = real[each](first, *rest, **kwargs)
            if each == "open":
                descriptors.add(result)
            if each == "close":
                descriptors.discard(first)
            return result

        return call

    try:
        for each in CALLS:
            setattr(os, each, wrapped(each))
        yield calls
    finally:
        for each, function in real.items():
            setattr(os, each, function)


def calls_of_one_write(folder: Path) -> list[tuple[str, int]]:
    with failing("none", 0, 0, folder) as calls:
        write_bytes(folder / "counted", b"x")
    numbers = [calls[:index].count(name) for index, name in enumerate(calls)]
    return list(zip(calls, numbers, strict=True))


ONE_WRITE = calls_of_one_write(Path(tempfile.mkdtemp()).resolve())


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize(("name", "nth"), ONE_WRITE)
@pytest.mark.parametrize("old", [None, b"what was there before"], ids=["new", "overwritten"])
def test_only_the_old_file_remains(
    name: str, nth: int, error: int, old: bytes | None, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    with (
        failing(name, nth, error, tmp_path),
        pytest.raises(StorageError, match="writing 12,345 bytes failed") as caught,
    ):
        write_bytes(path, b"y" * 12_345)
    assert str(path) in str(caught.value)
    assert os.strerror(error) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


def test_every_part_of_a_write_is_made_to_fail() -> None:
    assert {name for name, _ in ONE_WRITE} == set(CALLS)
    assert [name for name, _ in ONE_WRITE].count("fsync") == 2  # the file's and its folder's


def test_a_failed_sync_of_the_folder_is_undone_without_hard_links_only_for_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "old").write_bytes(b"old")
    with failing("fsync", 1, errno.EIO, tmp_path), pytest.raises(StorageError):
        write_bytes(tmp_path / "old", b"new")
    assert (tmp_path / "old").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("most", [1, 7, 4096])
def test_short_writes_are_continued(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:most])))
    data = torch.randint(256, (10_000,), dtype=torch.uint8).numpy().tobytes()
    write_bytes(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data


def test_a_write_that_makes_no_progress_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: 0)
    with pytest.raises(StorageError, match="no more bytes could be written"):
        write_bytes(tmp_path / "file", b"data")


def test_a_disk_that_stores_other_bytes_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def corrupting(descriptor: int, data: bytes) -> int:
        wrong = bytearray(data)
        wrong[len(wrong) // 2] ^= 1
        return real(descriptor, bytes(wrong))

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(os, "write", corrupting)
    with pytest.raises(StorageError, match="read back"):
        write_bytes(tmp_path / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_where_the_file_belongs(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(StorageError, match="this is a folder"):
        write_bytes(tmp_path / "file", b"data")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_where_the_folder_belongs(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="this is a file, wanted a folder"):
        make_folder(tmp_path / "file")
    with pytest.raises(StorageError, match=r"cannot be made|this is a file, wanted a folder"):
        make_folder(tmp_path / "file" / "below")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that was never stopped."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train_run(quick(), out=run, resources=Resources(threads=1), checkpoint_every="7")
    return run


def quick() -> Any:
    return load_recipe(EVERYTHING, {"epochs": 2})


def tensors_of(run: Path) -> str:
    return sha256_of_tensors(
        read_tensors(run / "model.safetensors", kind="tenfold-bundle", version=BUNDLE_VERSION)[1]
    )


def test_if_the_failure_cannot_be_recorded_either_the_first_error_is_raised(tmp_path: Path) -> None:
    run = tmp_path / "run"
    real = os.write
    count = 0

    def full_from_now_on(descriptor: int, data: bytes) -> int:
        nonlocal count
        count += 1
        if count > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    os.write = full_from_now_on  # type: ignore[assignment]
    try:
        with pytest.raises(StorageError, match=r"step-\d+\.safetensors: writing [\d,]+ bytes"):
            train_run(quick(), out=run, resources=Resources(threads=1), checkpoint_every="7")
    finally:
        os.write = real
    assert open_run(run).facts.status == "running"
    assert open_run(run).status == "crashed"
    assert not list(run.rglob(".*.tmp"))


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
sys.argv = ["tenfold", "train", "--recipe", sys.argv[1], "--out", sys.argv[3], "--threads", "1",
            "--epochs", "2", "--quiet"]
from tenfold.cli import main
main()
"""


def test_the_systems_file_size_limit(tmp_path: Path) -> None:
    result = run_python(LIMITED, EVERYTHING, 8_000, tmp_path / "run")
    assert result.returncode == 1
    assert "step-000000000.safetensors: writing" in result.stderr
    assert os.strerror(errno.EFBIG) in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "run").rglob(".*.tmp"))
    assert open_run(tmp_path / "run").status == "failed"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 120 kB; skips if none can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(place)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if result.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {result.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_really_full_disk(small_disk: Path, finished: Path) -> None:
    run = small_disk / "run"
    with pytest.raises(StorageError, match="No space left on device"):
        train_run(quick(), out=run, resources=Resources(threads=1), checkpoint_every="7")
    assert not list(run.rglob(".*.tmp"))
    kept = checkpoint_files(run / "checkpoints")
    assert kept
    for path in kept:
        read_tensors(path, kind=KIND, version=VERSION)
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    resume_run(run)
    assert tensors_of(run) == tensors_of(finished)


@pytest.fixture
def read_only(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """A read-only finished run; for root, on a read-only mount."""
    if os.geteuid():
        finished.chmod(0o555)
        yield finished
        finished.chmod(0o755)
        return
    place = tmp_path / "read-only"
    place.mkdir()
    for command in (
        ["mount", "--bind", finished, place],
        ["mount", "-o", "remount,bind,ro", place],
    ):
        result = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False
        )
        if result.returncode:
            pytest.skip(f"a folder cannot be mounted for reading only: {result.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_folder(read_only: Path) -> None:
    with pytest.raises(StorageError, match="cannot be locked") as caught:
        resume_run(read_only)
    assert str(read_only) in str(caught.value)
    with pytest.raises(StorageError, match="below: cannot create the folder"):
        train_run(quick(), out=read_only / "below")
    assert open_run(read_only).status == "finished"


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    spoil_step(monkeypatch, at=15, weights=False, value=float(value))
    with pytest.raises(TrainingError, match=rf"{value} in epoch 1, batch 15, at a learning rate"):
        train_run(quick(), out=run, resources=Resources(threads=1), checkpoint_every="7")
    newest = checkpoint_files(run / "checkpoints")[0]
    header, tensors = read_tensors(newest, kind=KIND, version=VERSION)
    assert header["step"] == 14
    assert header["best"] is None
    assert all(t.isfinite().all() for t in tensors.values())
    assert open_run(run).status == "failed"
    assert not RunFolder(run).best.exists()


@pytest.mark.parametrize("at", [14, 21], ids=["before a checkpoint", "at an epoch's end"])
def test_weights_that_are_not_finite_are_never_saved(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the step that makes the weights infinite is still finite."""
    run = tmp_path / "run"
    spoil_step(monkeypatch, at=at, weights=True, value=float("nan"))
    with pytest.raises(TrainingError, match=f"undefined in epoch 1, up to batch {at}"):
        train_run(quick(), out=run, resources=Resources(threads=1), checkpoint_every="7")
    header, tensors = read_tensors(
        checkpoint_files(run / "checkpoints")[0], kind=KIND, version=VERSION
    )
    assert header["step"] == at - 7
    assert all(t.isfinite().all() for t in tensors.values())


def spoil_step(monkeypatch: pytest.MonkeyPatch, *, at: int, weights: bool, value: float) -> None:
    """Make the loss or the weights of one step infinite or NaN."""
    from tenfold.runs import prepared as module
    from tenfold.training.torch_engine import TorchEngine, train_step

    taken = 0

    def step(model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal taken
        taken += 1
        loss, logits = train_step(model, *args, **kwargs)
        if taken == at and weights:
            next(model.parameters()).data.fill_(value)
        return (loss.new_tensor(value), logits) if taken == at and not weights else (loss, logits)

    real = module.train_loop
    monkeypatch.setattr(
        module,
        "train_loop",
        lambda *a, **k: real(*a, **{**k, "make_engine": partial(TorchEngine, step=step)}),
    )


ALLOCATION = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: ..."


OUT_OF_MEMORY = {
    "training": "memory ran out in epoch 1, batch 1, with batch_size = 64; .*batch_size=32",
    "evaluation": "memory ran out in evaluation, with eval_batch_size = 1,024; .*=512",
    "evaluation at the end": "memory ran out in evaluation, with eval_batch_size = 1,024; .*=512",
}


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(ALLOCATION), MemoryError()],
    ids=["accelerator", "PyTorch on a CPU", "Python"],
)
@pytest.mark.parametrize("place", ["training", "evaluation", "evaluation at the end"])
def test_running_out_of_memory_names_the_batch_size(
    error: Exception, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"training": 64, "evaluation": 144, "evaluation at the end": 359}[place]
    forward = torch.nn.Conv2d.forward

    def run_out(module: torch.nn.Conv2d, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) == images:
            raise error
        return forward(module, batch)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", run_out)
    with pytest.raises(TrainingError, match=OUT_OF_MEMORY[place]):
        train_run(quick(), out=tmp_path / "run", resources=Resources(threads=1, engine="torch"))


@needs_kernels
@pytest.mark.parametrize(
    ("method", "nth", "place"),
    [
        ("train", 1, "training"),
        ("predict", 1, "evaluation"),
        ("predict", 2, "evaluation at the end"),
    ],
)
def test_running_out_of_memory_in_the_kernels_names_the_batch_size(
    method: str, nth: int, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call of each method, number 0, compares the kernels with PyTorch."""
    fail_at(monkeypatch, method, nth)
    with pytest.raises(TrainingError, match=OUT_OF_MEMORY[place]):
        train_run(quick(), out=tmp_path / "run", resources=Resources(threads=1, engine="native"))


@needs_kernels
def test_without_memory_for_the_comparison_the_run_uses_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, "train", 0)
    run = train_run(quick(), out=tmp_path / "run", resources=Resources(threads=1))
    (session,) = run.facts.sessions
    assert session.engine == "torch"
    assert session.why_not_native == "memory ran out while comparing it with PyTorch"


def fail_at(monkeypatch: pytest.MonkeyPatch, method: str, nth: int) -> None:
    """Make the nth call of a compiled network's method, counted from 0, run out of memory."""
    real, calls = getattr(CompiledNetwork, method), iter(range(100))

    def called(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth:
            raise MemoryError
        return real(*args, **kwargs)

    monkeypatch.setattr(CompiledNetwork, method, called)


def test_other_errors_are_not_mistaken_for_running_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(torch.nn.Conv2d, "forward", wrong)
    with pytest.raises(RuntimeError, match="shapes"):
        train_run(quick(), out=tmp_path / "run", resources=Resources(threads=1))


def test_really_running_out_of_memory(tmp_path: Path) -> None:
    """PyTorch's own message on a CPU is one of those that are recognized."""
    from tenfold.training.memory import out_of_memory_explained

    state = TrainingState(torch.nn.Linear(1, 1), torch.optim.SGD([torch.zeros(1)]))
    state.begin_epoch(10)
    with (
        pytest.raises(TrainingError, match="batch_size = 64"),
        out_of_memory_explained(state, batch_size=64, eval_batch_size=128),
    ):
        torch.empty(2**50, dtype=torch.uint8)


def test_a_tensor_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    write_tensors(path, {"a": torch.ones(3)}, kind="k", version=1, header={})
    with failing("write", 0, errno.ENOSPC, tmp_path), pytest.raises(StorageError):
        write_tensors(path, {"a": torch.zeros(3)}, kind="k", version=1, header={})
    assert read_tensors(path, kind="k", version=1)[1]["a"].tolist() == [1, 1, 1]
