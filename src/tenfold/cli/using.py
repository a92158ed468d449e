"""Commands that use a trained model."""

from __future__ import annotations

import sys
from io import BufferedIOBase
from pathlib import Path
from typing import Annotated, cast

import typer

from tenfold.cli.app import MODELS, command
from tenfold.cli.options import (
    Center,
    Code,
    DataRoot,
    Device,
    Invert,
    Json,
    LabelFrom,
    Labels,
    Offline,
    Open,
    OtherDevice,
    OtherThreads,
    RunArgument,
    SkipBad,
    named_code,
)
from tenfold.cli.output import SCHEMA, open_in_viewer, show, watching
from tenfold.errors import (
    DataError,
    UsageError,
    counted,
    listing,
    printable,
    shell_word,
)
from tenfold.paths import is_file, is_folder
from tenfold.reporting.language import error_line
from tenfold.reporting.usage import image_in_place_of_run

_UNSURE = 0.5
"""An answer with less is unsure."""


@command(MODELS)
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
    code: Code = None,
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

    with watching() as watcher:
        report = evaluate_run(
            run,
            data,
            split=split,
            options=FolderOptions(labels or "", label_from or "", skip_bad=skip_bad),
            resources=Resources(data_root, not offline, device, threads, own=named_code(code)),
            listener=watcher,
        )
    show({"run": str(absolute(run)), **report.to_dict()}, as_json, lambda: report_text(report))


@command(MODELS)
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
    invert: Invert = False,
    center: Center = False,
    device: Device = "cpu",
    code: Code = None,
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
    from tenfold.deployment.differences import Differences
    from tenfold.deployment.streaming import Answer, answers, classified
    from tenfold.reporting.predictions import writer_of
    from tenfold.runs.evaluate import sample_of_test_images
    from tenfold.runs.resources import Resources, choose_device
    from tenfold.runs.run import notes_on, read_own_bundle
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
    bundle, own = read_own_bundle(run, named_code(code))
    classifier = Classifier(bundle, choose_device(device))
    kind = "csv" if as_csv else "jsonl" if as_lines else "json" if as_json else "text"
    writer = writer_of(kind, {"schema": SCHEMA, "run": str(absolute(run))}, min_confidence)
    problems: list[tuple[str, str]] = []
    skipped: list[str] = []
    differences = Differences(bundle.header.background, invert=invert, center=center)
    unsure = count = 0
    with watching() as watcher:
        for note in notes_on(bundle, own):
            watcher.note(note)
        if images:
            found = answers(
                classifier, images, top, _standard_input, skipped, invert=invert, center=center
            )
            for answer in found:
                writer.write(answer)
                if answer.problem:
                    problems.append((answer.name, answer.problem))
                else:
                    differences.add(answer.name, answer.look)
                    count += 1
                    unsure += answer.guesses[0].probability < _UNSURE
            if skipped:
                watcher.note(
                    f"skipped files without an image extension ({len(skipped):,}): "
                    f"{listing(skipped, 5)}"
                )
        else:
            resources = Resources(data_root, not offline)
            names, sample = sample_of_test_images(run, resources=resources, listener=watcher)
            pixels = classifier.pixels(sample, invert=invert, center=center)
            tops = classified(classifier, pixels, top, cropped=center)
            labels = sample.label_array.tolist()
            for name, (guesses, look), label in zip(names, tops, labels, strict=True):
                differences.add(name, look)
                writer.write(Answer(name, guesses, "", sample.classes[label], look))
        for note in differences.notes():
            watcher.note(note)
        if unsure and not min_confidence:
            watcher.note(
                f"{unsure:,} of {counted(count, 'answer')} {'has' if unsure == 1 else 'have'} a "
                f"probability of less than 50 %; --min-confidence {_UNSURE} marks such "
                "answers as unsure"
            )
    writer.close()
    if problems:
        work = f"predict {run} {images}"
        error = refuse_some(problems, writer.count, work)
        sys.stderr.write(f"tenfold: {error_line(error, sys.stderr)}\n")
        raise typer.Exit(DataError.exit_code)


@command(MODELS)
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")],
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="The same data, if it has moved.")
    ] = None,
    open_it: Open = False,
    device: OtherDevice = "",
    threads: OtherThreads = None,
    code: Code = None,
    data_root: DataRoot = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Write a run's report again: report.html, report.json and predictions.csv in its folder.

    Every run ends with it.
    """
    from tenfold.reporting.pages.report import make_report
    from tenfold.reporting.terminal import as_typed
    from tenfold.runs.resources import Resources

    resources = Resources(data_root, not offline, device, threads, own=named_code(code))
    with watching() as watcher:
        page = make_report(run, data, resources=resources, listener=watcher)
    show({"run": str(page.parent), "report": str(page)}, as_json, lambda: str(as_typed(page)))
    if open_it:
        open_in_viewer(page)


def _standard_input() -> BufferedIOBase:
    if sys.stdin is None:
        raise UsageError("there is no standard input to read", remedy="name image files")
    return cast("BufferedIOBase", sys.stdin.buffer)
