"""Commands that show data, models, recipes and this computer."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from tenfold.cli.app import DATA, MORE, command
from tenfold.cli.options import (
    DATA_HELP,
    Code,
    CorrectionsFile,
    DataRoot,
    Device,
    GroupBy,
    ImageSize,
    Json,
    LabelFrom,
    Labels,
    Offline,
    Open,
    ResizeOption,
    SkipBad,
    Threads,
    key_and_value,
    named_code,
    reading_keys,
    shape_of,
)
from tenfold.cli.output import in_columns, open_in_viewer, show, watching
from tenfold.errors import (
    DataError,
    UsageError,
)
from tenfold.listening import WithoutNotes
from tenfold.paths import exists
from tenfold.reporting.language import speaker


@command(DATA)
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
        show({"data_sets": entries}, as_json, lambda: catalog_text(entries))
        return
    from tenfold.data.load import read_to_show
    from tenfold.recipes import load_recipe
    from tenfold.runs.reading import corrections_for, folder_options

    reading = reading_keys(image_size, resize, labels, label_from, group_by, corrections, skip_bad)
    wanted = load_recipe("default", reading)
    with watching() as watcher:  # the notes are among the facts
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
    show(facts, as_json, lambda: data_text(facts))


@command(DATA)
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
    open_it: Open = False,
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
    from tenfold.reporting.check_files import PAGE, check_facts, check_text, write_check
    from tenfold.runs.folder import RunFolder, new_folder, plain_name, require_new
    from tenfold.runs.resources import Resources

    reading = reading_keys(image_size, resize, labels, label_from, group_by, corrections)
    wanted = load_recipe("default", reading)
    if out is not None:
        require_new(RunFolder(out))  # before the data is read, which may take long
    with watching(quiet=True) as watcher:
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
    show(facts, as_json, lambda: check_text(checked, folder))
    if open_it:
        open_in_viewer(folder / PAGE)
    if strict and checked.findings:
        raise typer.Exit(DataError.exit_code)


@command(MORE)
def summary(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FILE.py:NAME|RUN", help="A model's name, your own network, or a run."
        ),
    ],
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
    source: Annotated[
        bool,
        typer.Option(
            "--source", metavar="", help="Print the code of a run's network, if it is your own."
        ),
    ] = False,
    code: Code = None,
    as_json: Json = False,
) -> None:
    """Show a model layer by layer: output shapes, parameters, multiply-adds."""
    from tenfold.models import MODELS, build
    from tenfold.models.own import is_code, own_model
    from tenfold.models.summary import summarize
    from tenfold.models.table import how_to_name_instead
    from tenfold.runs.run import read_own_bundle, source_of
    from tenfold.types import ImageShape

    arguments = dict(key_and_value(text) for text in change or [])
    image_shape, name = shape_of("1x28x28" if shape is None else shape), ""
    if source:
        text = source_of(Path(model))
        show({"source": text}, as_json, lambda: text.rstrip("\n"))
        return
    if model in MODELS:
        network = build(model, image_shape, classes or 10, **arguments)
    elif is_code(model) and (own := own_model(model)):
        if classes is not None or code is not None:
            raise UsageError(
                f"{model}: your own network has its own outputs, and is named by this",
                remedy=f"leave out {'--code' if classes is None else '--classes'}",
            )
        network, name = own.build(arguments), own.name
    elif exists(model):
        given = {"--shape": shape, "--classes": classes, "--set": change}
        if unused := [option for option, value in given.items() if value is not None]:
            raise UsageError(
                f"{model}: a run has its own image shape, classes and arguments",
                remedy=f"leave out {' and '.join(unused)}, or name a model",
            )
        bundle, _ = read_own_bundle(Path(model), named_code(code))
        image_shape, network = ImageShape(*bundle.input_shape), bundle.network()
        name = "" if bundle.header.own is None else bundle.header.own.name
    else:
        if len(Path(model).parts) > 1:
            raise UsageError(f"{model}: no such folder or file", remedy="name a run or a model")
        raise UsageError(
            f"{model!r} is neither a model nor a run",
            remedy=how_to_name_instead(model),
        )
    with redirect_stdout(sys.stderr):  # what a network of the user's own prints is no result
        table = summarize(network, image_shape, name)
    show(table.to_dict(), as_json, lambda: str(table))


@command(MORE)
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
        show(facts, as_json, lambda: recipe_text(name).rstrip())
        return
    known = {each: load_recipe(each) for each in recipe_names()}
    tables = {each: recipe.to_dict() for each, recipe in known.items()}
    say = speaker(sys.stdout)
    descriptions = {each: say(recipe.description) for each, recipe in known.items()}
    show({"recipes": tables}, as_json, lambda: in_columns(descriptions))


@command(MORE)
def info(as_json: Json = False) -> None:
    """Show versions, devices and folders, for bug reports."""
    from tenfold.reporting.describe import machine_facts

    facts = machine_facts()
    show(facts, as_json, lambda: in_columns(facts))
