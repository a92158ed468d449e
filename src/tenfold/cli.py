"""The command line: results on standard output, everything else on standard error."""

from __future__ import annotations

import functools
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

import tenfold
from tenfold.errors import (
    DataError,
    InterruptedRunError,
    StorageError,
    TenfoldError,
    UsageError,
    did_you_mean,
    json_line,
    listing,
    printable,
    shell_word,
)
from tenfold.listening import WithoutNotes
from tenfold.native.waiting import let_threads_wait_briefly
from tenfold.paths import exists, is_file, is_folder
from tenfold.reporting.streams import standard_streams
from tenfold.reporting.usage import image_in_place_of_run, misunderstood
from tenfold.training.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from io import BufferedIOBase

    from tenfold.runs import Run
    from tenfold.training.watching import Watcher

P = ParamSpec("P")
R = TypeVar("R")


class _Command(TyperCommand):
    """A command whose help shows no type for `--help`."""

    def get_help_option(self, ctx: Any) -> TyperOption | None:  # noqa: ANN401
        return _without_type(super().get_help_option(ctx))


class _Group(TyperGroup):
    """The same for the group of all commands."""

    def get_help_option(self, ctx: Any) -> TyperOption | None:  # noqa: ANN401
        return _without_type(super().get_help_option(ctx))


def _without_type(option: TyperOption | None) -> TyperOption | None:
    if option is not None:
        option.metavar = ""
    return option


app = typer.Typer(
    name="tenfold",
    cls=_Group,
    help="Train small-image classifiers in seconds, and trust what they say.",
    epilog="Start with: tenfold train digits",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

SCHEMA = 1
"""Version of the `--json` output."""

DATA_HELP = (
    "A name listed by `tenfold data`, or a path: a folder or archive of class folders, or an "
    ".npz file."
)

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run's folder, or a model.safetensors.")
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of known data sets, in torchvision's layout; by default TENFOLD_DATA.",
    ),
]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute.")]
OtherDevice = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda|mps", help="Instead of the run's own.")
]
Threads = Annotated[
    int | None,
    typer.Option(metavar="N", help="CPU threads; by default half the cores, at least two."),
]
OtherThreads = Annotated[
    int | None, typer.Option(metavar="N", help="CPU threads; by default the run's own.")
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="auto|native|torch",
        help="What runs the training steps: native for compiled kernels, torch for PyTorch, auto "
        "for the kernels if they can.",
    ),
]
OtherEngine = Annotated[
    str, typer.Option(metavar="auto|native|torch", help="Instead of the run's own.")
]
Json = Annotated[
    bool, typer.Option("--json", metavar="", help="Print one JSON object on standard output.")
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", metavar="", help="Print only notes while training."),
]
LogEvery = Annotated[
    int, typer.Option(metavar="N", min=0, help="Print the running loss every N batches.")
]
Plot = Annotated[
    bool,
    typer.Option("--plot", metavar="", help="Plot each epoch to training.png in the run's folder."),
]
CheckpointEvery = Annotated[
    str,
    typer.Option(
        metavar="30s|5m|500",
        help="Save within epochs at another interval than a minute: in seconds, minutes or "
        "batches.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="FILE[:COLUMN]",
        help="A CSV or TSV file with the images' names and labels; by default one beside the "
        "images, if they are not in class folders.",
    ),
]
LabelFrom = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help=r"Find labels in the images' names, as in '(?P<label>[^/\d]+)_\d+'.",
    ),
]
GroupBy = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX|COLUMN",
        help="Keep images together for which this part of the name, or this column, is the same.",
    ),
]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", metavar="", help="Leave out images that cannot be read.")
]
CorrectionsFile = Annotated[
    Path | None,
    typer.Option(
        "--corrections",
        metavar="FILE",
        help="A findings.csv of `tenfold check` with actions: images to delete or relabel.",
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(metavar="N|HxW", help="Size that images are scaled to, such as 64 or 48x64."),
]
ResizeOption = Annotated[
    str | None,
    typer.Option(
        "--resize",
        metavar="pad|squash|crop",
        help="How images of other proportions are brought to that size; by default squashed.",
    ),
]
Offline = Annotated[bool, typer.Option("--offline", metavar="", help="Download nothing.")]


class _InterruptedError(TenfoldError):
    """Ctrl-C outside training: there is nothing to save."""

    exit_code = 128 + signal.SIGINT

    def __init__(self) -> None:
        super().__init__("interrupted")


class _NotEnoughMemoryError(TenfoldError):
    """Memory ran out where nothing more can be said of it."""

    def __init__(self) -> None:
        super().__init__("there is not enough memory", remedy="end other programs")


def main() -> NoReturn:
    """Run the command line; tenfold's own errors show a traceback only with `--debug`."""
    _forget_impossible_settings()
    let_threads_wait_briefly()
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    with standard_streams():
        try:
            code = _run_app()
            sys.stdout.flush()
        except (TenfoldError, MemoryError) as found:
            error = found if isinstance(found, TenfoldError) else _NotEnoughMemoryError()
            code = error.exit_code
            if "--json" in sys.argv:
                with suppress(StorageError):  # the first error is the one to report
                    _write_json({"error": _error_facts(error)})
            if debug:
                traceback.print_exception(found)
            else:
                sys.stderr.write(f"tenfold: {error}\n")
        except SystemExit as second_signal:
            code = cast("int", second_signal.code)
            sys.stderr.write("tenfold: stopped at once; nothing more was saved\n")
        sys.exit(code)


_POSSIBLE = {
    "COLUMNS": r"0*[1-9][0-9]{1,4}",
    "LINES": r"0*[1-9][0-9]{0,4}",
    "OMP_NUM_THREADS": r"\s*0*[1-9][0-9]{0,8}(\s*,\s*0*[1-9][0-9]{0,8})*\s*",
    "OMP_DYNAMIC": r"(?i)\s*(true|false)\s*",
    "OMP_STACKSIZE": r"(?i)\s*0*([1-9]\d{5,8}\s*b|[1-9]\d{2,5}\s*k?|[1-9]\d{0,2}\s*m|1\s*g)\s*",
    "OMP_WAIT_POLICY": r"(?i)\s*(active|passive)\s*",
    "GOMP_SPINCOUNT": r"(?i)\s*([0-9]{1,18}\s*[kmgt]?|infinity|infinite)\s*",
}
"""By environment variable, values with which Rich shows something and OpenMP does not complain."""


def _forget_impossible_settings() -> None:
    """Drop settings from the environment that libraries would fail with, or complain about."""
    for name, possible in _POSSIBLE.items():
        value = os.environ.get(name)
        if value is not None and not re.fullmatch(possible, value):
            del os.environ[name]


def _error_facts(error: TenfoldError) -> dict[str, Any]:
    """What went wrong, ready for JSON; with every bad file, if that is what is wrong."""
    facts = {"message": error.message, "remedy": error.remedy, "exit_code": error.exit_code}
    bad_files = getattr(error, "bad_files", None)
    return facts if bad_files is None else {**facts, "bad_files": bad_files}


def _run_app() -> int | None:
    """Run the command; returns the exit code, None for 0.

    Raises:
        UsageError: the command line is wrong.
    """
    try:
        code: int | None = app(prog_name="tenfold", standalone_mode=False)
    except typer.Abort:
        raise _InterruptedError from None
    except typer.TyperException as error:
        if len(sys.argv) == 1:  # the message is the help text
            sys.stderr.write(f"{error.format_message()}\n")
            return error.exit_code
        raise misunderstood(error, sys.argv[1:]) from error
    if code == _InterruptedError.exit_code:  # by Ctrl-C while the command line was read
        raise _InterruptedError
    return code


def _stoppable(command: Callable[P, R]) -> Callable[P, R]:
    """Turn Ctrl-C outside training into our error."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            # A further signal, just before the command that continues the run was shown.
            if isinstance(interrupt.__context__, InterruptedRunError):
                raise interrupt.__context__ from None
            raise _InterruptedError from None

    return wrapped


def _version(wanted: bool | None) -> None:
    if wanted:
        sys.stdout.write(f"{tenfold.__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool | None,
        typer.Option(
            "--version", metavar="", callback=_version, is_eager=True, help="Show the version."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", metavar="", help="Show tracebacks of errors; works anywhere in the command."
        ),
    ] = False,
) -> None:
    del version, debug  # handled elsewhere; declared here for --help


@app.command(cls=_Command)
@_stoppable
def train(
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=DATA_HELP)] = None,
    recipe: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="A recipe listed by `tenfold recipes`, or a file."),
    ] = "default",
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Another model; `tenfold summary NAME` shows one."),
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
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe key; repeatable."),
    ] = None,
    data_root: DataRoot = None,
    checkpoint_every: CheckpointEvery = "",
    log_every: LogEvery = 0,
    plot: Plot = False,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a classifier: data in, a run folder with an evaluated model out."""
    from tenfold.recipes import load_recipe
    from tenfold.recipes.recipe import AUTO
    from tenfold.runs import train_run
    from tenfold.runs.resources import Resources

    changes: dict[str, Any] = dict(_key_and_value(text) for text in change or [])
    given = {
        "model": model,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "optimizer": optimizer,
        "val": val,
        "seed": seed,
        "start": None if start is None else str(start),
        "weights": None if weights is None else str(weights),
        "freeze": freeze or None,
    }
    changes |= {key: value for key, value in given.items() if value is not None}
    changes |= _reading(image_size, resize, labels, label_from, group_by, corrections, skip_bad)
    if time:
        changes.setdefault("epochs", AUTO)
    chosen = load_recipe(recipe, changes)
    resources = Resources(data_root, not offline, device, threads, engine)
    if folds is not None:
        from tenfold.runs.folds import cross_validate

        others = {
            "--out": out,
            "--plot": plot,
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
        with _watching(quiet, log_every) as watcher:
            found = cross_validate(chosen, data, folds=folds, resources=resources, watcher=watcher)
        _show(found.to_dict(), as_json, lambda: str(found))
        return
    with _watching(quiet, log_every, plot) as watcher:
        run = train_run(
            chosen,
            data,
            out=out,
            resources=resources,
            time=time,
            checkpoint_every=checkpoint_every,
            watcher=watcher,
        )
    _show_run(run, as_json)


@app.command(cls=_Command)
@_stoppable
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
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
    data_root: DataRoot = None,
    checkpoint_every: CheckpointEvery = "",
    log_every: LogEvery = 0,
    plot: Plot = False,
    offline: Offline = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Continue a run at its next batch, with the same bits as if it had never stopped."""
    from tenfold.runs import resume_run
    from tenfold.runs.resources import Resources

    with _watching(quiet, log_every, plot) as watcher:
        resumed = resume_run(
            run,
            epochs=epochs,
            accept=accept or [],
            data=data,
            resources=Resources(data_root, not offline, device, threads, engine),
            checkpoint_every=checkpoint_every,
            watcher=watcher,
        )
    _show_run(resumed, as_json)


@app.command(cls=_Command)
@_stoppable
def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Data other than the run's own.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="train|val|test", help="Which split.")] = "test",
    labels: Labels = None,
    label_from: LabelFrom = None,
    skip_bad: SkipBad = False,
    device: OtherDevice = "",
    threads: OtherThreads = None,
    data_root: DataRoot = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Evaluate a run's best weights: loss, accuracy with its interval, each class."""
    from tenfold.data.folders.options import FolderOptions
    from tenfold.reporting.terminal import report_text
    from tenfold.runs import evaluate_run
    from tenfold.runs.resources import Resources
    from tenfold.storage import absolute

    with _watching() as watcher:
        report = evaluate_run(
            run,
            data,
            split=split,
            options=FolderOptions(labels or "", label_from or "", skip_bad=skip_bad),
            resources=Resources(data_root, not offline, device, threads),
            listener=watcher,
        )
    _show({"run": str(absolute(run)), **report.to_dict()}, as_json, lambda: report_text(report))


@app.command(cls=_Command)
@_stoppable
def predict(
    run: RunArgument,
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE",
            help="Image files, folders or archives of images, or - for standard input: an image, "
            "or names of images, one a line. By default a few of the run's test images.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(metavar="K", min=1, help="Number of classes to show.")] = 1,
    min_confidence: Annotated[
        float,
        typer.Option(
            metavar="X", min=0, max=1, help="Answer 'unsure' if no class is as probable as this."
        ),
    ] = 0.0,
    device: Device = "cpu",
    data_root: DataRoot = None,
    offline: Offline = False,
    as_csv: Annotated[
        bool,
        typer.Option("--csv", metavar="", help="Print CSV: image, rank, class, probability."),
    ] = False,
    as_lines: Annotated[
        bool, typer.Option("--jsonl", metavar="", help="Print one JSON object a line, per image.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict the most probable classes of images of any size and mode.

    What cannot be read is listed at the end, and the exit code is then 3.
    """
    from tenfold.data.folders.damage import refuse_some
    from tenfold.data.folders.survey import IMAGE_EXTENSIONS
    from tenfold.deployment import Classifier
    from tenfold.deployment.streaming import Answer, answers
    from tenfold.reporting.predictions import writer_of
    from tenfold.runs.evaluate import sample_of_test_images
    from tenfold.runs.resources import Resources, choose_device
    from tenfold.runs.run import note_on_run, read_own_bundle
    from tenfold.storage import absolute

    if as_csv + as_lines + as_json > 1:
        raise UsageError("--csv, --jsonl and --json exclude each other", remedy="choose one")
    if run.suffix.lower() in IMAGE_EXTENSIONS and not is_folder(run):
        raise image_in_place_of_run(run, [Path(name) for name in images or ()])
    if not images and is_file(run):
        raise UsageError(
            f"{printable(run)}: a model file alone has no images to show",
            remedy=f"name image files: tenfold predict {shell_word(run)} IMAGE...",
        )
    bundle, own = read_own_bundle(run)
    classifier = Classifier(bundle, choose_device(device))
    kind = "csv" if as_csv else "jsonl" if as_lines else "json" if as_json else "text"
    writer = writer_of(kind, {"schema": SCHEMA, "run": str(absolute(run))}, min_confidence)
    problems: list[tuple[str, str]] = []
    skipped: list[str] = []
    with _watching() as watcher:
        if own is not None and (note := note_on_run(own, bundle)):
            watcher.note(note)
        if images:
            for answer in answers(classifier, images, top, _standard_input, skipped):
                writer.write(answer)
                if answer.problem:
                    problems.append((answer.name, answer.problem))
            if skipped:
                watcher.note(
                    f"skipped files without an image extension ({len(skipped):,}): "
                    f"{listing(skipped, 5)}"
                )
        else:
            resources = Resources(data_root, not offline)
            names, sample = sample_of_test_images(run, resources=resources, listener=watcher)
            tops, labels = classifier.top(sample, top), sample.label_array.tolist()
            for name, guesses, label in zip(names, tops, labels, strict=True):
                writer.write(Answer(name, guesses, true_class=sample.classes[label]))
    writer.close()
    if problems:
        work = f"predict {run} {images}"
        sys.stderr.write(f"tenfold: {refuse_some(problems, writer.count, work)}\n")
        raise typer.Exit(DataError.exit_code)


def _standard_input() -> BufferedIOBase:
    if sys.stdin is None:
        raise UsageError("there is no standard input to read", remedy="name image files")
    return cast("BufferedIOBase", sys.stdin.buffer)


@app.command(cls=_Command)
@_stoppable
def summary(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="A model's name, or a run.")],
    shape: Annotated[
        str | None,
        typer.Option(metavar="CxHxW", help="Image shape of a named model; by default 1x28x28."),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Number of classes of a named model; by default 10."),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a model argument; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a model layer by layer: output shapes, parameters, multiply-adds."""
    from tenfold.models import MODELS, build
    from tenfold.models.summary import summarize
    from tenfold.runs.run import read_own_bundle
    from tenfold.types import ImageShape

    if model in MODELS:
        arguments = dict(_key_and_value(text) for text in change or [])
        image_shape = _shape("1x28x28" if shape is None else shape)
        network = build(model, image_shape, classes or 10, **arguments)
    elif exists(model):
        given = {"--shape": shape, "--classes": classes, "--set": change}
        if unused := [option for option, value in given.items() if value is not None]:
            raise UsageError(
                f"{model}: a run has its own image shape, classes and arguments",
                remedy=f"leave out {' and '.join(unused)}, or name a model",
            )
        bundle, _ = read_own_bundle(Path(model))
        image_shape, network = ImageShape(*bundle.input_shape), bundle.network()
    else:
        if len(Path(model).parts) > 1:
            raise UsageError(f"{model}: no such folder or file", remedy="name a run or a model")
        raise UsageError(
            f"{model!r} is neither a model nor a run",
            remedy=did_you_mean(model, MODELS),
        )
    table = summarize(network, image_shape)
    _show(table.to_dict(), as_json, lambda: str(table))


@app.command(cls=_Command)
@_stoppable
def data(
    data: Annotated[str | None, typer.Argument(metavar="DATA", help=DATA_HELP)] = None,
    image_size: ImageSize = None,
    resize: ResizeOption = None,
    labels: Labels = None,
    label_from: LabelFrom = None,
    group_by: GroupBy = None,
    skip_bad: SkipBad = False,
    corrections: CorrectionsFile = None,
    data_root: DataRoot = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """List the known data sets, or describe one: splits, shapes, classes, counts."""
    from tenfold.reporting.describe import catalog_facts, catalog_text, data_facts, data_text

    if data is None:
        entries = catalog_facts()
        _show({"data_sets": entries}, as_json, lambda: catalog_text(entries))
        return
    from tenfold.data.load import read_to_show
    from tenfold.recipes import load_recipe
    from tenfold.runs.reading import corrections_for, folder_options

    reading = _reading(image_size, resize, labels, label_from, group_by, corrections, skip_bad)
    wanted = load_recipe("default", reading)
    with _watching() as watcher:  # the notes are among the facts
        read = read_to_show(
            data,
            data_root=data_root,
            image_size=wanted.image_size,
            resize=wanted.resize,
            options=folder_options(wanted),
            corrections=corrections_for(wanted),
            download=not offline,
            listener=WithoutNotes(watcher),
        )
    facts = data_facts(read)
    _show(facts, as_json, lambda: data_text(facts))


@app.command(cls=_Command)
@_stoppable
def check(
    data: Annotated[str, typer.Argument(metavar="DATA", help=DATA_HELP)],
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            metavar="",
            help="Look at single images and exact copies only: no near duplicates, no training.",
        ),
    ] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="FINDING", help="Leave out a kind of findings; repeatable."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", metavar="", help="Exit with 3 if anything is found.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where to write; by default the next folder in checks/."
        ),
    ] = None,
    image_size: ImageSize = None,
    resize: ResizeOption = None,
    labels: Labels = None,
    label_from: LabelFrom = None,
    group_by: GroupBy = None,
    corrections: CorrectionsFile = None,
    device: Device = "auto",
    threads: Threads = None,
    data_root: DataRoot = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Find what is wrong with a data set: bad files, copies, wrong labels, shortcuts.

    Writes a page with pictures (check.html), a table (findings.csv), which can be filled in and
    given to `train --corrections`, and findings.json.
    """
    from tenfold.doctor.check import check_data
    from tenfold.recipes import load_recipe
    from tenfold.reporting.check_files import check_facts, check_text, write_check
    from tenfold.runs.folder import RunFolder, new_folder, plain_name, require_new
    from tenfold.runs.resources import Resources

    reading = _reading(image_size, resize, labels, label_from, group_by, corrections)
    wanted = load_recipe("default", reading)
    if out is not None:
        require_new(RunFolder(out))  # before the data is read, which may take long
    with _watching(quiet=True) as watcher:
        checked = check_data(
            data,
            wanted,
            quick=quick,
            ignore=ignore or (),
            resources=Resources(data_root, not offline, device, threads),
            watcher=watcher,
        )
        folder = new_folder(out, plain_name(checked.source), Path("checks"))
        write_check(folder, checked)
    facts = {"folder": str(folder), **check_facts(checked)}
    _show(facts, as_json, lambda: check_text(checked, folder))
    if strict and checked.findings:
        raise typer.Exit(DataError.exit_code)


@app.command(cls=_Command)
@_stoppable
def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show this recipe, with its comments.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes, or show one."""
    from tenfold.recipes import load_recipe, recipe_names, recipe_text

    if name is not None:
        facts = {"name": name, **load_recipe(name).to_dict()} if as_json else {}
        _show(facts, as_json, lambda: recipe_text(name).rstrip())
        return
    known = {each: load_recipe(each) for each in recipe_names()}
    tables = {each: recipe.to_dict() for each, recipe in known.items()}
    descriptions = {each: recipe.description for each, recipe in known.items()}
    _show({"recipes": tables}, as_json, lambda: _in_columns(descriptions))


@app.command(cls=_Command)
@_stoppable
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
    from tenfold.storage import write_text

    if markdown is not None and not is_folder(markdown.parent):
        raise UsageError(
            f"--markdown {markdown}: no such folder: {markdown.parent}",
            remedy="create it first",
        )
    with _watching(quiet, log_every) as watcher:
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
        write_text(markdown, reproduction_markdown(facts))
    _show(facts, as_json, lambda: reproduction_text(facts))
    raise typer.Exit(reproduction.exit_code)


@app.command(cls=_Command)
@_stoppable
def info(as_json: Json = False) -> None:
    """Show versions, devices and folders, for bug reports."""
    from tenfold.reporting.describe import machine_facts

    facts = machine_facts()
    _show(facts, as_json, lambda: _in_columns(facts))


@contextmanager
def _watching(quiet: bool = False, log_every: int = 0, plot: bool = False) -> Iterator[Watcher]:
    """The watcher for this output: a progress bar on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        from tenfold.reporting.terminal import PlainWatcher

        yield _plotting(PlainWatcher(log_every=log_every, quiet=quiet), plot)
        return
    from tenfold.reporting.bar import BarWatcher

    with BarWatcher(log_every, quiet=quiet) as bar:
        yield _plotting(bar, plot)


def _plotting(watcher: Watcher, plot: bool) -> Watcher:
    if not plot:
        return watcher
    from tenfold.reporting.live import LivePlot
    from tenfold.training.watching import Watchers

    return Watchers([watcher, LivePlot(tell=watcher.note)])


def _show_run(run: Run, as_json: bool) -> None:
    from tenfold.reporting.terminal import run_text
    from tenfold.runs.folder import RunFolder

    engine = run.facts.conditions.engine
    try:
        _show(run.to_dict(), as_json, lambda: run_text(run.folder, run.figures, engine))
    except StorageError as error:
        again = RunFolder(run.folder).command("resume")
        raise StorageError(
            error.message, remedy=f"the run is saved; show its result with: {again}"
        ) from error


def _reading(
    image_size: str | None,
    resize: str | None,
    labels: str | None,
    label_from: str | None,
    group_by: str | None,
    corrections: Path | None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """The recipe keys that say how data is read, of those options that were given."""
    given = {
        "image_size": image_size,
        "resize": resize,
        "labels": labels,
        "label_from": label_from,
        "group_by": group_by,
        "corrections": None if corrections is None else str(corrections),
        "skip_bad": skip_bad or None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _key_and_value(text: str) -> tuple[str, Any]:
    """`key=value` with the value parsed as TOML, or as a string if it is not TOML."""
    from tenfold.recipes import parse_recipe

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(
            f"--set {text!r}: not KEY=VALUE",
            remedy="write, for example, --set label_smoothing=0.1",
        )
    try:
        parsed = parse_recipe(f"value = {value}", "of one line")
    except UsageError:
        parsed = {}
    return key.strip(), parsed["value"] if parsed.keys() == {"value"} else value


def _shape(text: str) -> tuple[int, int, int]:
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise UsageError(f"--shape is {text!r}, wanted, for example, 1x28x28")
    channels, height, width = (int(part) for part in parts)
    if channels not in (1, 3) and width in (1, 3):
        raise UsageError(
            f"--shape is {text}, wanted the channels first",
            remedy=f"write --shape {width}x{channels}x{height}",
        )
    return channels, height, width


def _in_columns(table: Mapping[str, object]) -> str:
    width = max(map(len, table))
    return "\n".join(f"{key:<{width}}  {printable(value)}" for key, value in table.items())


def _show(facts: Mapping[str, Any], as_json: bool, text: Callable[[], str]) -> None:
    """Print facts as one JSON object or as text."""
    if as_json:
        _write_json(facts)
    else:
        sys.stdout.write(f"{text()}\n")
    sys.stdout.flush()


def _write_json(facts: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{json_line({'schema': SCHEMA, **facts})}\n")
