"""Options and arguments that several commands have, and their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenfold.errors import UsageError

if TYPE_CHECKING:
    from tenfold.models.own import OwnModel

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
Invert = Annotated[
    bool,
    typer.Option(
        "--invert", metavar="", help="Take negatives: dark becomes light, and light dark."
    ),
]
Center = Annotated[
    bool,
    typer.Option(
        "--center",
        metavar="",
        help="Crop to the subject, as large, central, light and strong as in the training images.",
    ),
]
ShowTest = Annotated[
    bool,
    typer.Option(
        "--show-test",
        metavar="",
        help="Also show test accuracy after every epoch; it is not used to choose anything.",
    ),
]
NoReport = Annotated[
    bool,
    typer.Option("--no-report", metavar="", help="Write no report.html at the end."),
]
CheckpointEvery = Annotated[
    str,
    typer.Option(
        metavar="30s|5m|500",
        help="Save within epochs at another interval than a minute: in seconds, minutes or "
        "batches.",
    ),
]
Code = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py:NAME",
        help="The code of the run's network, if that is your own; it is run.",
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
Open = Annotated[
    bool, typer.Option("--open", metavar="", help="Open what was written in a viewer.")
]


def named_code(code: str | None) -> OwnModel | None:
    """What makes the network, by code that `--code` names; None without it.

    Raises:
        UsageError: it cannot be run, or has no such network.
    """
    if code is None:
        return None
    from tenfold.models.own import is_code, own_model

    if not is_code(code):
        raise UsageError(
            f"--code {code}: not a Python file", remedy="write, for example, --code net.py:Net"
        )
    return own_model(code)


def reading_keys(
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


def key_and_value(text: str) -> tuple[str, Any]:
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


def shape_of(text: str) -> tuple[int, int, int]:
    """Channels, height and width from a text such as `1x28x28`.

    Raises:
        UsageError: it is not one.
    """
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
