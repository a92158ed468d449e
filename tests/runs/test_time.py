"""How long a run should train: what is accepted, and what comes of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bad_inputs.makers.pictures import pictures
from command_line import Tenfold
from tenfold.errors import UsageError
from tenfold.recipes import load_recipe
from tenfold.runs import train_run
from tenfold.runs.pace import Pace
from tenfold.runs.resources import Resources
from tenfold.runs.train import parse_time
from tenfold.training.watching import Standing


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", None), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), ("0.5s", 0.5)],
)
def test_times(text: str, seconds: float | None) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "0s", "-3m", "nan s", "infs", "ten m", "3d", "1e400h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match=r"time is '.*', wanted one such as 90s, 10m or 1h"):
        parse_time(text)


def test_a_recipe_that_says_how_many_epochs_has_no_use_for_a_time(tmp_path: Path) -> None:
    recipe = load_recipe("digits-quick", {"epochs": 3})
    with pytest.raises(UsageError, match="but also the number of epochs, 3") as raised:
        train_run(recipe, out=tmp_path / "run", time="5s", resources=Resources(threads=1))
    assert raised.value.remedy == 'give only one of them; in a recipe, write epochs = "auto"'
    assert not (tmp_path / "run").exists()


def test_more_time_is_more_epochs(tenfold: Tenfold) -> None:
    """Steps are measured, so only the order is certain."""
    epochs = []
    for time in ("0.05s", "20s"):
        answer = tenfold(
            *("train", "digits", "--recipe", "digits-quick", "--time", time),
            *("--threads", "1", "--set", "patience=1"),
        )
        assert answer.code == 0, answer.err
        found = re.search(r"chosen for this data: .*?(\d+) epochs? of", answer.err)
        assert found is not None
        epochs.append(int(found[1]))
    assert epochs[0] < epochs[1]


def test_a_step_longer_than_the_time_is_one_epoch(tenfold: Tenfold, tmp_path: Path) -> None:
    """Such that there is only one stretch of steps to measure."""
    pictures(cat=8, dog=8)(tmp_path)
    answer = tenfold(
        *("train", "photos", "--recipe", "softmax-fashion", "--time", "0.000001s"),
        *("--threads", "1", "--batch-size", "16", "--set", "test=0"),
    )
    assert answer.code == 0, answer.err
    assert "1 epoch of 1 step" in answer.err


def test_a_batch_larger_than_the_data_does_not_count_more_than_it_has(tenfold: Tenfold) -> None:
    command = ("train", "digits", "--recipe", "softmax-fashion", "--time", "0.3s", "--threads", "1")
    found = []
    for size in ("1294", "100000"):
        answer = tenfold(*command, "--batch-size", size, "--val", "0.1")
        assert answer.code == 0, answer.err
        found.append(int(re.search(r"data: (\d+) epoch", answer.err)[1]))
    assert found[1] < 4 * found[0]


def test_time_and_epochs_exclude_each_other(tenfold: Tenfold) -> None:
    answer = tenfold("train", "digits", "--time", "5s", "--epochs", "3")
    assert answer.code == 2
    assert "a time was given, but also the number of epochs, 3" in answer.err


def test_the_first_stretch_of_steps_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    pace, now = Pace(), 100.0
    monkeypatch.setattr("tenfold.runs.pace.time.perf_counter", lambda: now)
    assert not pace.is_known()
    for step, now in [(1, 105.0), (5, 105.4), (25, 107.4)]:  # noqa: B007 - the clock reads it
        pace.advanced(Standing(1, step, 100, step, 1.0))
        assert pace.is_known() == (step == 25)
    assert pace.seconds_per_step == pytest.approx(2.4 / 24)
