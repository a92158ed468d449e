"""The command that writes a trained model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenfold.cli.app import MODELS, command
from tenfold.cli.options import Code, DataRoot, Json, Offline, RunArgument, named_code
from tenfold.cli.output import show, watching


@command(MODELS)
def export(
    run: RunArgument,
    to: Annotated[
        str,
        typer.Option(
            metavar="onnx|torch-export|state-dict",
            help="For ONNX Runtime, for torch.export, or as plain PyTorch: weights and a model.py.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE|FOLDER", help="Where to; by default the run's folder."),
    ] = None,
    code: Code = None,
    data_root: DataRoot = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Write the model for other programs, checked against it on the run's test images.

    Raw pixels in, logits and probabilities out: preprocessing and temperature are inside.
    """
    from tenfold.reporting.exports import export_text
    from tenfold.runs.export import export_run
    from tenfold.runs.resources import Resources

    resources = Resources(data_root, not offline, own=named_code(code))
    with watching() as watcher:
        exported = export_run(run, to, out, resources=resources, listener=watcher)
    show(exported.to_dict(), as_json, lambda: export_text(exported))
