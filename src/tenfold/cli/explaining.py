"""Commands that show what a model and its data look like."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tenfold.cli.app import DATA, MODELS, command
from tenfold.cli.options import (
    DATA_HELP,
    Center,
    Code,
    DataRoot,
    Device,
    GroupBy,
    ImageSize,
    Invert,
    Json,
    LabelFrom,
    Labels,
    Offline,
    Open,
    ResizeOption,
    RunArgument,
    SkipBad,
    named_code,
    reading_keys,
)
from tenfold.cli.output import open_in_viewer, watching
from tenfold.cli.output import show as show_facts
from tenfold.errors import TenfoldError, UsageError
from tenfold.paths import is_file


@command(MODELS)
def explain(
    run: RunArgument,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.")],
    label: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Explain this class instead of the answer."),
    ] = None,
    neighbors: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=64, help="Training images to show that are most like it."
        ),
    ] = 8,
    invert: Invert = False,
    center: Center = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write the picture, .png or .svg; by default in explained/ in the run's "
            "folder.",
        ),
    ] = None,
    open_it: Open = False,
    device: Device = "cpu",
    code: Code = None,
    data_root: DataRoot = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Explain an answer: what the network saw, what spoke for it, which training images are alike.

    A part of the image speaks for a class if the class becomes less probable when it is covered.
    """
    from tenfold.deployment import Classifier
    from tenfold.deployment.differences import Differences
    from tenfold.deployment.looks import looks_of
    from tenfold.reporting.explain import explain as explained
    from tenfold.reporting.explain import explanation_text
    from tenfold.reporting.style import picture_format, save_figure
    from tenfold.runs.evaluate import parts_of
    from tenfold.runs.resources import Resources, choose_device
    from tenfold.runs.run import notes_on, read_own_bundle
    from tenfold.storage import absolute, destination

    if out is not None:
        picture_format(out)
        destination(out)  # refuses it before the work
    bundle, own = read_own_bundle(run, named_code(code))
    classifier = Classifier(bundle, choose_device(device))
    with watching() as watcher:
        for note in notes_on(bundle, own):
            watcher.note(note)
        train = None
        if own is not None and neighbors:
            resources = Resources(data_root, not offline)
            try:
                parts = parts_of(own.path, resources=resources, listener=watcher)
                train = parts["train"]
            except TenfoldError as error:
                watcher.note(f"{error.message}; no training images are shown")
        found = explained(
            classifier,
            image,
            label=label,
            train=train,
            neighbors=neighbors,
            invert=invert,
            center=center,
            listener=watcher,
        )
        differences = Differences(bundle.header.background, invert=invert, center=center)
        for look in looks_of(found.pixels, bundle.header.background, cropped=center):
            differences.add(str(image), look)
        for note in differences.notes():
            watcher.note(note)
        if out is None:
            kinds = [label, "inverted" if invert else None, "centered" if center else None]
            kind = "".join(f"-{_plain(each)}" for each in kinds if each)
            name = f"{_plain(str(image).removesuffix('.png'))[-100:] or 'image'}{kind[-100:]}.png"
            out = own.path / "explained" / name if own else Path(f"explained-{name}")
        save_figure(found.figure(), out)
    facts = {"run": str(absolute(run)), "image": str(image), **found.to_dict(), "picture": str(out)}
    picture = out
    show_facts(facts, as_json, lambda: explanation_text(found, picture))
    if open_it:
        open_in_viewer(picture)


def _plain(words: str) -> str:
    """Words that can be a part of a file's name anywhere."""
    return re.sub(r"[^\w.-]+", "-", words).strip("-.")


@command(DATA)
def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="DATA|RUN", help=f"A run's folder; or {DATA_HELP[0].lower()}{DATA_HELP[1:]}"
        ),
    ],
    only: Annotated[
        str,
        typer.Option(
            "--only",
            metavar="samples|mistakes|confusion|history|filters|features",
            help="Which picture of a run; by default all of them.",
        ),
    ] = "",
    split: Annotated[
        str, typer.Option(metavar="train|val|test", help="Which split of a data set.")
    ] = "train",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where to write; by default pictures/ in the run's folder, or for data the next "
            "folder in pictures/.",
        ),
    ] = None,
    open_it: Open = False,
    image_size: ImageSize = None,
    resize: ResizeOption = None,
    labels: Labels = None,
    label_from: LabelFrom = None,
    group_by: GroupBy = None,
    skip_bad: SkipBad = False,
    code: Code = None,
    data_root: DataRoot = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Draw pictures: samples, mistakes, the confusion matrix, filters and feature maps."""
    from tenfold.data.load import read_to_show
    from tenfold.recipes import load_recipe
    from tenfold.reporting.show import show_data, show_run
    from tenfold.reporting.terminal import as_typed
    from tenfold.runs.folder import RunFolder, new_folder, plain_name
    from tenfold.runs.reading import folder_options
    from tenfold.runs.resources import Resources

    with watching() as watcher:
        reading = reading_keys(image_size, resize, labels, label_from, group_by, None, skip_bad)
        if is_file(RunFolder(Path(what)).facts):
            if reading or split != "train":
                raise UsageError(
                    f"{what}: a run has its own data, and shows its own images",
                    remedy="leave out the options for data, or name data",
                )
            files = show_run(
                Path(what),
                out or Path(what) / "pictures",
                only,
                resources=Resources(data_root, not offline, own=named_code(code)),
                listener=watcher,
            )
        else:
            if only not in ("", "samples"):
                raise UsageError(
                    f"{what}: a data set has no picture {only!r}, only samples",
                    remedy="name a run's folder",
                )
            wanted = load_recipe("default", reading)
            read = read_to_show(
                what,
                data_root=data_root,
                image_size=wanted.image_size,
                resize=wanted.resize,
                options=folder_options(wanted),
                download=not offline,
                listener=watcher,
            )
            if split not in read.parts:
                raise UsageError(
                    f"{what}: no {split} split, only {', '.join(read.parts)}",
                    remedy=f"choose --split {next(iter(read.parts))}",
                )
            folder = out or new_folder(None, plain_name(read.source), Path("pictures"))
            files = show_data(read.parts[split], folder)
    facts = {"files": [str(file) for file in files]}
    show_facts(facts, as_json, lambda: "\n".join(str(as_typed(file)) for file in files))
    if open_it:
        for file in files:
            open_in_viewer(file)
