"""Predictions of test images, from a run's file or by its model, and never from a changed file."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tenfold
from tenfold.errors import DataError, FileRefusedError, TenfoldError
from tenfold.runs import open_run
from tenfold.runs import predicted as module
from tenfold.runs.folder import PREDICTIONS
from tenfold.runs.predicted import Predictions, predictions_of

COLUMNS = ("index", "image", "split", "true", "predicted", "probability", "correct")


@pytest.fixture
def run(compared: Path, tmp_path: Path) -> Path:
    """A copy of a run, to be changed."""
    return Path(shutil.copytree(compared / "single", tmp_path / "run"))


@pytest.fixture(scope="module")
def by_model(compared: Path) -> Predictions:
    return predictions_of(open_run(compared / "single"))


def rows_of(found: Predictions) -> list[dict[str, object]]:
    return [
        dict(
            zip(COLUMNS, (index, "", "test", true, predicted, 0.5, true == predicted), strict=True)
        )
        for index, (true, predicted) in enumerate(zip(found.true, found.predicted, strict=True))
    ]


def write(run: Path, rows: list[dict[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    (run / PREDICTIONS).write_text(text.getvalue(), "utf-8")


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileRefusedError("evaluated")

    monkeypatch.setattr(module, "evidence_of", fail)


def test_the_model_gives_the_figures_of_the_run(compared: Path, by_model: Predictions) -> None:
    report = tenfold.evaluate(compared / "single")
    assert len(by_model.true) == report.n
    assert by_model.correct.mean() == report.accuracy
    assert tenfold.evaluation.confusion_matrix(by_model.true, by_model.predicted, 10).tolist() == (
        report.confusion.tolist()
    )


@pytest.mark.usefixtures("no_model")
def test_the_file_is_taken_if_it_agrees(run: Path, by_model: Predictions) -> None:
    rows = rows_of(by_model)
    others = [{**row, "split": "val"} for row in rows[:5]]
    write(run, [*others, *rows[::-1]])  # in any order
    found = predictions_of(open_run(run))
    assert np.array_equal(found.true, by_model.true)
    assert np.array_equal(found.predicted, by_model.predicted)


def one_more_right(rows: list[dict[str, object]]) -> object:
    wrong = next(row for row in rows if row["true"] != row["predicted"])
    return wrong.update(predicted=wrong["true"])


CHANGES: list[Callable[[list[dict[str, object]]], object]] = [
    one_more_right,
    lambda rows: rows.pop(),
    lambda rows: rows.append(rows[0]),
    lambda rows: rows[3].update(index=7),
    lambda rows: rows[3].update(index="three"),
    lambda rows: rows[3].update(true="eleven"),
    lambda rows: rows[3].update(predicted=""),
    lambda rows: rows.clear(),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.usefixtures("no_model")
def test_a_changed_file_is_not_believed(
    change: Callable[[list[dict[str, object]]], object], run: Path, by_model: Predictions
) -> None:
    rows = rows_of(by_model)
    change(rows)
    write(run, rows)
    with pytest.raises(FileRefusedError, match="evaluated"):
        predictions_of(open_run(run))


@pytest.mark.parametrize("data", [b"", b"index,true\n0,1\n", b"\xff\xfe", b'a,"b\n'])
@pytest.mark.usefixtures("no_model")
def test_nor_is_a_damaged_one(data: bytes, run: Path) -> None:
    (run / PREDICTIONS).write_bytes(data)
    with pytest.raises(FileRefusedError, match="evaluated"):
        predictions_of(open_run(run))


def test_names_that_a_table_cannot_have_as_they_are(run: Path, by_model: Predictions) -> None:
    """A spreadsheet would take `=1` for a formula, so a table has an apostrophe before it."""
    facts = json.loads((run / "run.json").read_text())
    facts["data"]["classes"][1] = "=1"
    (run / "run.json").write_text(json.dumps(facts))
    rows = [
        {
            key: "'=1" if key in ("true", "predicted") and cell == 1 else cell
            for key, cell in r.items()
        }
        for r in rows_of(by_model)
    ]
    write(run, rows)
    assert np.array_equal(predictions_of(open_run(run)).predicted, by_model.predicted)


def test_a_model_that_answers_otherwise_is_not_believed(run: Path, compared: Path) -> None:
    shutil.copy(compared / "slow" / "seed-0" / "model.safetensors", run)
    facts = json.loads((run / "run.json").read_text())
    facts["digests"].pop("model.safetensors")
    (run / "run.json").write_text(json.dumps(facts))
    with pytest.raises(FileRefusedError, match="its model gives other answers than the run ended"):
        predictions_of(open_run(run))


def test_why_there_are_none(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text())
    recipe = (run / "recipe.toml").read_text()

    def refused(error: type[TenfoldError], said: str, **changes: object) -> None:
        (run / "run.json").write_text(json.dumps({**facts, "digests": {}, **changes}))
        with pytest.raises(error, match=said):
            predictions_of(open_run(run))

    refused(FileRefusedError, "no figures on test images", test=None)
    refused(FileRefusedError, "no figures on test images", test={"confusion": [[1, 2], [3]]})
    refused(FileRefusedError, "no figures on test images", test={"confusion": "many"})
    gone = {**facts["data"], "source": str(run / "gone")}
    (run / "recipe.toml").write_text(recipe.replace('data = "digits"', f'data = "{run}/gone"'))
    refused(DataError, "the run's data is no longer at", data=gone)
    (run / "model.safetensors").unlink()
    refused(FileRefusedError, "no such file")
