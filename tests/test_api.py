"""The public functions, where they do more than delegate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

import tenfold
from engines import ENGINES, needs_kernels
from tenfold.recipes import load_recipe


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_is_chosen_by_name(engine: str, tmp_path: Path) -> None:
    changes = {"recipe": "digits-quick", "epochs": 1, "threads": 1, "quiet": True}
    run = tenfold.train(out=tmp_path / "run", engine=engine, **changes)
    assert run.facts.conditions.engine == engine
    with pytest.raises(tenfold.UsageError, match="there is no engine 'nativ'; did you mean"):
        tenfold.train(out=tmp_path / "other", engine="nativ", **changes)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(tenfold.UsageError, match="model is of type int, wanted the name of") as e:
        tenfold.train("digits", model=3)
    assert "model=Net()" in str(e.value)
    with pytest.raises(tenfold.UsageError, match="Linear takes 2 features per image, but gets"):
        tenfold.train("digits", model=nn.Linear(2, 3))


def test_an_unknown_engine_is_refused_even_if_nothing_is_left_to_do(tmp_path: Path) -> None:
    run = tenfold.train(
        recipe="digits-quick", epochs=1, threads=1, out=tmp_path / "run", quiet=True
    )
    with pytest.raises(tenfold.UsageError, match="there is no engine 'nativ'"):
        tenfold.resume(run, engine="nativ")


@needs_kernels
def test_a_run_is_resumed_by_another_engine_on_request(tmp_path: Path) -> None:
    changes = {"recipe": "digits-quick", "epochs": 1, "threads": 1, "quiet": True}
    run = tenfold.train(out=tmp_path / "run", engine="native", **changes)
    longer = tenfold.resume(run, epochs=2, engine="torch", quiet=True)
    assert [session.engine for session in longer.facts.sessions] == ["native", "torch"]
    assert not longer.facts.sessions[-1].bit_exact
    assert longer.facts.sessions[-1].notes == [
        "no longer bit-exact: engine was 'native', is 'torch'"
    ]


@pytest.mark.parametrize(
    "recipe", ["digits-quick", load_recipe("digits-quick")], ids=["name", "object"]
)
def test_a_recipe_is_changed_alike_by_name_and_as_an_object(
    recipe: str | tenfold.Recipe, tmp_path: Path
) -> None:
    changes = {"model": "mlp", "model_args.hidden": [8], "epochs": 1, "batch_size": 256}
    run = tenfold.train(recipe=recipe, out=tmp_path / "run", threads=1, quiet=True, **changes)
    assert run.recipe.model == "mlp"
    assert run.recipe.model_args["hidden"] == [8]
    assert run.recipe.lr == load_recipe("digits-quick").lr
    with pytest.raises(tenfold.UsageError, match="did you mean 'epochs'"):
        tenfold.train(recipe=recipe, epoch=1)


WRONG = {
    "tenfold.evaluate(net)": "found an object of type Linear, wanted a run",
    "tenfold.load(net)": "found an object of type Linear, wanted a run",
    "tenfold.train('digits', recipe={'model': 'mlp'})": "recipe is of type dict, wanted the name",
    "tenfold.train('digits', checkpoint_every=2.5)": "checkpoint-every is '2.5', wanted a time",
    "tenfold.models.build('mlp', (1, 8, 8), '10')": "classes is '10', wanted a whole number",
    "tenfold.training.train(None, [], epochs=1, batch_size=1, schedule=None)": "of type list, "
    "wanted an ImageDataset",
    "tenfold.training.train_epoch(net, tenfold.data.load_splits('digits').splits.train, None)": (
        "wrap it in tenfold.data.DataLoader"
    ),
    "tenfold.evaluation.evaluate_accuracy(net, tenfold.data.load_splits('digits').splits.train)": (
        "wrap it in tenfold.data.DataLoader"
    ),
    "tenfold.training.train(None, tenfold.data.load_splits('digits').splits.train, epochs=1, "
    "batch_size=1, schedule=0.1)": "schedule is 0.1, wanted a function from the number of steps "
    "taken to the learning rate; for a constant one, write schedule=lambda step: 0.1",
    "tenfold.train('digits', out=3)": "out is of type int, wanted the path of a folder",
    "tenfold.check('digits', out=3)": "out is of type int, wanted the path of a folder",
    "tenfold.train('digits', threads='2')": "threads is '2', wanted a whole number",
    "tenfold.train('digits', device=3)": "there is no device 3",
    "tenfold.train('digits', engine=3)": "there is no engine 3",
    "tenfold.notebook.show_images('digits', path='x.png')": "of type str, wanted an ImageDataset",
}


def test_values_of_a_wrong_type_are_refused_in_our_words(tmp_path: Path) -> None:
    """In a process in which nothing but our own code looks at types."""
    code = f"""
import json
import torch
import tenfold
net, said = torch.nn.Linear(2, 2), {{}}
for call in {list(WRONG)!r}:
    try:
        eval(call)
    except tenfold.UsageError as error:
        said[call] = str(error)
print(json.dumps(said))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    said = json.loads(answer.stdout)
    assert said.keys() == WRONG.keys()
    for call, words in WRONG.items():
        assert words in said[call]
    assert not list(tmp_path.iterdir())
