"""Commands that train."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenfold.cli.app import TRAINING, command
from tenfold.cli.options import (
    DATA_HELP,
    CheckpointEvery,
    Code,
    CorrectionsFile,
    DataRoot,
    Device,
    Engine,
    GroupBy,
    ImageSize,
    Json,
    LabelFrom,
    Labels,
    LogEvery,
    NoReport,
    Offline,
    OtherDevice,
    OtherEngine,
    OtherThreads,
    Plot,
    Quiet,
    ResizeOption,
    ShowTest,
    SkipBad,
    Threads,
    key_and_value,
    named_code,
    reading_keys,
)
from tenfold.cli.output import show, show_run, watching
from tenfold.errors import TrainingError, UsageError, printable
from tenfold.paths import is_folder
from tenfold.training.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from tenfold.runs.groups import SeedRuns


@command(TRAINING)
def train(
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=DATA_HELP)] = None,
    recipe: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="A recipe listed by `tenfold recipes`, or a file."),
    ] = "default",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.py:NAME",
            help="Another model, which `tenfold summary NAME` shows; or your own network: the file "
            "is run.",
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the training images.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Images per training step.")
    ] = None,
    time: Annotated[
        str,
        typer.Option(
            metavar="90s|10m|1h",
            help="About how long to train; by default as long as the data needs.",
        ),
    ] = "",
    lr: Annotated[float | None, typer.Option(metavar="X", help="The learning rate.")] = None,
    optimizer: Annotated[
        str | None, typer.Option(metavar="|".join(OPTIMIZERS), help="How the weights are updated.")
    ] = None,
    val: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="Share of training images held out for validation."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Random seed: order, split, initial weights.")
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    engine: Engine = "auto",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="The run's folder; by default the next one in runs/."),
    ] = None,
    image_size: ImageSize = None,
    resize: ResizeOption = None,
    labels: Labels = None,
    label_from: LabelFrom = None,
    group_by: GroupBy = None,
    skip_bad: SkipBad = False,
    corrections: CorrectionsFile = None,
    add: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Class folders with more training images, such as corrected answers.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Train on at most N of the training images, from each class its share; test "
            "images stay whole.",
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN|MODEL",
            help="Start from the network of another run, or of a model.safetensors.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Start from weights of another program: a state dict, or a safetensors file.",
        ),
    ] = None,
    freeze: Annotated[
        bool,
        typer.Option(
            "--freeze",
            metavar="",
            help="Train only the last layer, on features that the others compute once.",
        ),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=2, help="Cross-validate with this many folds; no run is written."
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Train this many runs that differ only in the seed, in one folder.",
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe key; repeatable."),
    ] = None,
    data_root: DataRoot = None,
    checkpoint_every: CheckpointEvery = "",
    log_every: LogEvery = 0,
    plot: Plot = False,
    show_test: ShowTest = False,
    no_report: NoReport = False,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a classifier: data in, a run folder with an evaluated model out."""
    from tenfold.models.own import own_model
    from tenfold.recipes import load_recipe
    from tenfold.recipes.recipe import AUTO
    from tenfold.reporting.after import Reporter
    from tenfold.runs import train_run
    from tenfold.runs.resources import Resources

    if add == "":
        raise UsageError("--add is empty", remedy="name a folder of class folders")
    changes: dict[str, Any] = dict(key_and_value(text) for text in change or [])
    given = {
        "model": model,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "optimizer": optimizer,
        "val": val,
        "seed": seed,
        "add": add,
        "limit": limit,
        "start": None if start is None else str(start),
        "weights": None if weights is None else str(weights),
        "freeze": freeze or None,
    }
    changes |= {key: value for key, value in given.items() if value is not None}
    changes |= reading_keys(image_size, resize, labels, label_from, group_by, corrections, skip_bad)
    own = own_model(changes.get("model", ""))
    if own is not None:
        changes["model"] = own.model
    if time:
        changes.setdefault("epochs", AUTO)
    chosen = load_recipe(recipe, changes)
    resources = Resources(data_root, not offline, device, threads, engine, own)
    if folds is not None:
        from tenfold.runs.folds import cross_validate

        if seeds is not None:
            raise UsageError(
                "--folds and --seeds exclude each other: folds change the images, seeds change "
                "nothing else",
                remedy="choose one",
            )
        others = {
            "--out": out,
            "--plot": plot,
            "--show-test": show_test,
            "--checkpoint-every": checkpoint_every,
        }
        if useless := [option for option, value in others.items() if value]:
            raise UsageError(
                f"--folds writes no run, so {useless[0]} does nothing", remedy="drop one of them"
            )
        if time:
            raise UsageError(
                "--time is for one training, and --folds makes several",
                remedy="give --epochs, and leave out --time",
            )
        with watching(quiet, log_every) as watcher:
            found = cross_validate(chosen, data, folds=folds, resources=resources, watcher=watcher)
        show(found.to_dict(), as_json, lambda: str(found))
        return
    if seeds is not None:
        from tenfold.runs.seeds import train_seeds

        with watching(quiet, log_every, plot) as watcher:
            group = train_seeds(
                chosen,
                data,
                seeds=seeds,
                out=out,
                resources=resources,
                time=time,
                checkpoint_every=checkpoint_every,
                show_test=show_test,
                watcher=watcher,
                after=None if no_report else Reporter(watcher),
            )
        _show_group(group, as_json)
        return
    with watching(quiet, log_every, plot) as watcher:
        run = train_run(
            chosen,
            data,
            out=out,
            resources=resources,
            time=time,
            checkpoint_every=checkpoint_every,
            show_test=show_test,
            watcher=watcher,
            after=None if no_report else Reporter(watcher),
        )
    show_run(run, as_json)


@command(TRAINING)
def resume(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN|GROUP", help="A run's folder, or that of train --seeds."),
    ],
    epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="New total number of epochs.")
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="recipe|data|classes", help="Continue even if this has changed; repeatable."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="The same data, if it has moved.")
    ] = None,
    device: OtherDevice = "",
    threads: OtherThreads = None,
    engine: OtherEngine = "",
    code: Code = None,
    data_root: DataRoot = None,
    checkpoint_every: CheckpointEvery = "",
    log_every: LogEvery = 0,
    plot: Plot = False,
    show_test: ShowTest = False,
    no_report: NoReport = False,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Continue a run at its next batch, with the same bits as if it had never stopped."""
    from tenfold.reporting.after import Reporter
    from tenfold.runs import resume_run
    from tenfold.runs.groups import GroupFolder
    from tenfold.runs.resources import Resources

    resources = Resources(data_root, not offline, device, threads, engine, named_code(code))
    if GroupFolder(run).is_there:
        from tenfold.runs.seeds import resume_seeds

        if option := "--epochs" if epochs is not None else "--accept" if accept else "":
            raise UsageError(
                f"{option} is for a single run, and {printable(run)} is a group of them",
                remedy="leave it out, or train a new group",
            )
        with watching(quiet, log_every, plot) as watcher:
            reporter = None if no_report else Reporter(watcher)
            group = resume_seeds(
                run,
                data=data,
                resources=resources,
                checkpoint_every=checkpoint_every,
                show_test=show_test,
                watcher=watcher,
                after=reporter,
            )
            if reporter is not None:
                for ended in group.runs:
                    reporter.make_up_for(ended, data, resources)
        _show_group(group, as_json)
        return
    with watching(quiet, log_every, plot) as watcher:
        reporter = None if no_report else Reporter(watcher)
        resumed = resume_run(
            run,
            epochs=epochs,
            accept=accept or [],
            data=data,
            resources=resources,
            checkpoint_every=checkpoint_every,
            show_test=show_test,
            watcher=watcher,
            after=reporter,
        )
        if reporter is not None:
            reporter.make_up_for(resumed, data, resources)
    show_run(resumed, as_json)


def _show_group(group: SeedRuns, as_json: bool) -> None:
    """Print the results of a group.

    Raises:
        Exit: with 1, if a run failed.
    """
    from tenfold.reporting.terminal import group_text

    show(group.to_dict(), as_json, lambda: group_text(group.folder, str(group)))
    if group.failures:
        raise typer.Exit(TrainingError.exit_code)


@command(TRAINING)
def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE",
            help="lenet-mnist, softmax-fashion, mlp-fashion, cnn-cifar10, convpool-mnist; "
            "by default all of them, the slowest last.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Epochs for every recipe, instead of its own."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            metavar="",
            help="Train for as many epochs as the tutorials: cnn-cifar10 100 instead of 5, "
            "convpool-mnist 10 instead of 2.",
        ),
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where to put the table and the runs; by default the next runs/reproduction-NNN.",
        ),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the table to this file.")
    ] = None,
    data_root: DataRoot = None,
    log_every: LogEvery = 0,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the teaching recipes and compare their figures with the published ones.

    Exits with 0 if no figure differs, 1 if one does, 3 if no recipe could be run.

    Without CIFAR-10 on disk, uses its copy cifar10-jpeg.tar.xz and says so.
    """
    from tenfold.reproduction.reproduce import reproduce as run_recipes
    from tenfold.reproduction.text import reproduction_markdown, reproduction_text
    from tenfold.runs.resources import Resources
    from tenfold.storage import destination, write_text

    if markdown is not None and not is_folder(markdown.parent):
        raise UsageError(
            f"--markdown {markdown}: no such folder: {markdown.parent}",
            remedy="create it first",
        )
    if markdown is not None:
        destination(markdown)  # refuses it before the work
    with watching(quiet, log_every) as watcher:
        reproduction = run_recipes(
            names or (),
            epochs=epochs,
            full=full,
            out=out,
            resources=Resources(data_root, not offline, device, threads),
            watcher=watcher,
            command=shlex.join(["tenfold", *sys.argv[1:]]),
        )
    facts = reproduction.to_dict()
    if markdown is not None:
        write_text(destination(markdown), reproduction_markdown(facts))
    show(facts, as_json, lambda: reproduction_text(facts))
    raise typer.Exit(reproduction.exit_code)
