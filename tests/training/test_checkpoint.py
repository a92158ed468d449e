"""Checkpoints: two generations, the most steps first, damaged ones skipped with a note."""

import os
import re
import time

import pytest
import torch
from torch import nn

from tenfold.errors import FileRefusedError, StorageError, TenfoldError
from tenfold.training import TrainingState
from tenfold.training.checkpoint import (
    GENERATIONS,
    KIND,
    VERSION,
    Checkpointer,
    checkpoint_files,
    read_newest,
)
from tensor_files import write_tensors


def state_at(step):
    torch.manual_seed(step)
    model = nn.Linear(3, 2)
    state = TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1))
    state.step = step
    return state


def save(folder, *steps, **named):
    checkpointer = Checkpointer(folder, {"recipe": "this one"}, **named)
    return [checkpointer.save(state_at(step)) for step in steps]


def steps_in(folder):
    return [int(re.findall(r"\d+", path.name)[0]) for path in checkpoint_files(folder)]


def damage(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_saved_checkpoint_is_read_with_its_context(tmp_path):
    (path,) = save(tmp_path / "made" / "for" / "it", 12)
    checkpoint = read_newest(path.parent)
    assert checkpoint.path == path
    assert path.name == "step-000000012.safetensors"
    assert checkpoint.header.context == {"recipe": "this one"}
    assert checkpoint.header.step == 12
    assert torch.equal(checkpoint.tensors["model.weight"], state_at(12).model.weight)
    assert checkpoint.skipped == ()


def test_two_generations_are_kept(tmp_path):
    assert GENERATIONS == 2
    save(tmp_path, *range(0, 50, 10))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-000000030.safetensors",
        "step-000000040.safetensors",
    ]


def test_the_newest_is_the_one_with_the_most_steps_not_the_latest_time(tmp_path):
    newer, older = save(tmp_path, 1000, 999)
    os.utime(newer, (0, 0))
    os.utime(older, (2**31, 2**31))
    assert steps_in(tmp_path) == [1000, 999]
    assert read_newest(tmp_path).path == newer


def test_steps_are_compared_as_numbers(tmp_path):
    save(tmp_path, 999_999_999, 1_000_000_000)
    assert steps_in(tmp_path) == [1_000_000_000, 999_999_999]
    assert read_newest(tmp_path).header.step == 1_000_000_000


def test_the_checkpoint_just_saved_is_never_pruned(tmp_path):
    """Even in a folder with leftover checkpoints of more steps."""
    save(tmp_path, 100, 200)
    (path,) = save(tmp_path, 50)
    assert path.exists()
    assert read_newest(tmp_path).header.step == 200


def test_other_files_are_left_alone(tmp_path):
    names = ["step-1.safetensors", "best.safetensors", "step-000000001.txt", "notes"]
    for name in names:
        (tmp_path / name).write_text("mine")
    save(tmp_path, 1, 2, 3, 4)
    assert steps_in(tmp_path) == [4, 3]
    assert all((tmp_path / name).read_text() == "mine" for name in names)


def test_an_older_one_is_used_with_the_reason_if_the_newest_is_damaged(tmp_path):
    older, newer = save(tmp_path, 10, 20)
    damage(newer)
    checkpoint = read_newest(tmp_path)
    assert checkpoint.path == older
    assert checkpoint.header.step == 10
    ((path, reason, word),) = checkpoint.skipped
    assert word == "damaged"
    assert path == newer
    assert "step-000000020.safetensors" in reason
    assert "damaged" in reason


def test_skipped_ones_are_set_aside_and_new_ones_are_kept(tmp_path):
    _, newer = save(tmp_path, 10, 20)
    damage(newer)
    (aside,) = read_newest(tmp_path).set_newer_aside()
    assert aside.exists()
    assert not newer.exists()
    save(tmp_path, 15, 20)
    assert steps_in(tmp_path) == [20, 15]
    assert read_newest(tmp_path).skipped == ()


def test_if_none_is_valid_all_are_named(tmp_path):
    for path in save(tmp_path, 10, 20):
        damage(path)
    with pytest.raises(FileRefusedError, match="none of the 2 checkpoints is valid") as raised:
        read_newest(tmp_path)
    assert "step-000000010" in str(raised.value)
    assert "step-000000020" in str(raised.value)


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_without_files_there_is_no_checkpoint(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    assert read_newest(tmp_path / folder) is None


def test_another_kind_of_file_is_skipped(tmp_path):
    save(tmp_path, 10)
    other = tmp_path / "step-000000020.safetensors"
    write_tensors(other, {}, kind="tenfold-bundle", version=1, header={"step": 20})
    checkpoint = read_newest(tmp_path)
    assert checkpoint.header.step == 10
    assert "this is a model such as a run's model.safetensors" in str(checkpoint.skipped)


def test_a_file_named_after_another_step_is_skipped(tmp_path):
    (path,) = save(tmp_path, 10)
    path.rename(tmp_path / "step-000000999.safetensors")
    save(tmp_path, 20)
    checkpoint = read_newest(tmp_path)
    assert checkpoint.header.step == 20
    assert len(checkpoint.skipped) == 1


def test_one_from_a_newer_tenfold_is_not_skipped(tmp_path):
    """Continuing from an older one would discard the newer tenfold's work."""
    save(tmp_path, 10)
    newer = tmp_path / "step-000000020.safetensors"
    write_tensors(newer, {}, kind=KIND, version=VERSION + 1, header={"step": 20})
    with pytest.raises(FileRefusedError, match="install a newer tenfold"):
        read_newest(tmp_path)


def test_a_folder_that_cannot_be_created_is_a_tenfold_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        save(tmp_path / "file" / "checkpoints", 1)


def test_a_save_that_fails_leaves_the_older_ones(tmp_path, monkeypatch):
    save(tmp_path, 10, 20)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TenfoldError, match="No space left"):
        save(tmp_path, 30)
    monkeypatch.undo()
    assert steps_in(tmp_path) == [20, 10]
    assert len(list(tmp_path.iterdir())) == 2


# --- When to save ----------------------------------------------------------------------------


class Clock:
    def __init__(self, monkeypatch):
        self.now = round(128 * time.perf_counter()) / 128  # so that sums of such are exact
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


def test_saving_at_an_interval_in_batches(tmp_path):
    checkpointer = Checkpointer(tmp_path, {}, every_batches=5)
    due = [step for step in range(1, 21) if checkpointer.due_after_batch(state_at(step))]
    assert due == [5, 10, 15, 20]
    assert checkpointer.due_after_epoch(state_at(20))


def test_saving_at_an_interval_in_seconds(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    checkpointer = Checkpointer(tmp_path, {}, every_seconds=30.0)
    for seconds, due in ((29.0, False), (2.0, True), (1.0, True)):
        clock.now += seconds
        assert checkpointer.due_after_batch(state_at(1)) is due
    checkpointer.save(state_at(1))
    assert not checkpointer.due_after_batch(state_at(2))
    clock.now += 30.0
    assert checkpointer.due_after_epoch(state_at(3))


def costly(clock, seconds):
    """What is called after a save that takes some seconds."""

    def after_save(state):
        clock.now += seconds

    return after_save


def test_without_an_interval_epoch_ends_are_due_within_the_cost(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    checkpointer = Checkpointer(tmp_path, {}, after_save=costly(clock, 0.1))
    clock.now += 0.1
    assert checkpointer.due_after_epoch(state_at(1))
    checkpointer.save(state_at(1))
    assert checkpointer.seconds_spent == pytest.approx(0.1)
    clock.now += 29.7  # with the save, 29.9 seconds have passed
    assert not checkpointer.due_after_epoch(state_at(2))
    assert not checkpointer.due_after_batch(state_at(2))
    clock.now += 0.15
    # The first save, this one and the last one take 0.3 seconds, 1 % of the 30 that have passed.
    assert checkpointer.due_after_epoch(state_at(2))


def steps_until_saved(checkpointer, clock, seconds):
    """The seconds since the last save after which one is due, with a look every few seconds."""
    since = 0.0
    while not checkpointer.due_after_batch(state_at(1)):
        clock.now += seconds
        since += seconds
    checkpointer.save(state_at(1))
    return since


@pytest.mark.parametrize(
    ("cost", "look", "wanted"),
    [
        pytest.param(0.0, 0.25, 59.75, id="free: a minute, with the step that is under way"),
        pytest.param(0.5, 0.25, 59.25, id="cheap: a minute, with the save itself"),
        pytest.param(153 / 128, 0.25, 60.0, id="affordable only after 59.8 seconds"),
        pytest.param(2.0, 0.25, 100.0, id="2 % of 100 seconds"),
        pytest.param(0.0, 20.0, 40.0, id="long steps: the next one might be too late"),
        pytest.param(0.0, 50.0, 50.0, id="no more than half a minute early"),
    ],
)
def test_without_an_interval_a_minute_is_lost_at_most_unless_that_is_expensive(
    cost, look, wanted, tmp_path, monkeypatch
):
    clock, told = Clock(monkeypatch), []
    checkpointer = Checkpointer(tmp_path, {}, after_save=costly(clock, cost), tell=told.append)
    checkpointer.save(state_at(0))
    found = [steps_until_saved(checkpointer, clock, look) for _ in range(5)]
    assert found[1:] == [wanted] * 4
    if wanted > 60.0:
        assert [each.partition(";")[0] for each in told] == [
            "a checkpoint takes 2.0 s, so within epochs one is written every 100 s, not every 60 s"
        ]
    else:
        assert told == []


def test_a_requested_interval_replaces_the_minute(tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    in_batches = Checkpointer(tmp_path, {}, every_batches=1000)
    in_seconds = Checkpointer(tmp_path, {}, every_seconds=90.0)
    clock.now += 89.0
    assert not in_batches.due_after_batch(state_at(1))
    assert not in_seconds.due_after_batch(state_at(1))


def test_after_save_is_called_after_every_save(tmp_path):
    told = []
    state = state_at(1)
    checkpointer = Checkpointer(tmp_path, {}, after_save=told.append)
    path = checkpointer.save(state)
    assert told == [state]
    assert path.exists()


def test_a_file_that_is_no_checkpoint_is_never_removed(tmp_path):
    checkpointer = Checkpointer(tmp_path, {})
    for step in (1, 2, 9):
        (tmp_path / f"step-{step:09d}.safetensors").write_bytes(b"somebody's own")
    for step in (3, 4, 5):
        checkpointer.save(state_at(step))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"step-{step:09d}.safetensors" for step in (1, 2, 4, 5, 9)]
