"""An export in words: where it is, how well it agrees, how to use it."""

from __future__ import annotations

import json

from tenfold.deployment.export.formats import Exported
from tenfold.errors import counted, printable, shell_word
from tenfold.reporting.terminal import as_typed

_COMPUTED_BY = {
    "onnx": "ONNX Runtime",
    "torch-export": "torch.export",
    "state-dict": "model.py",
}


def export_text(exported: Exported) -> str:
    """What an export has written, and how to use it."""
    files = [exported.path, *exported.others]
    names = ", ".join(shell_word(as_typed(path)) for path in files)
    near_ties = counted(exported.near_ties, "near-tie")
    kind = "test image" if exported.are_real else "made-up image"
    images = f"{counted(exported.images, kind)} with {_COMPUTED_BY[exported.format]}"
    changed = f"no class changed{f' except in {near_ties}' if exported.near_ties else ''}"
    agreement = f"largest difference of a logit {exported.largest_difference:.1e}, {changed}"
    return "\n".join(
        [
            f"wrote    {names} ({counted(exported.size, 'byte')})",
            f"checked  {images}: {agreement}",
            "use      " + "\n         ".join(_use(exported)),
        ]
    )


def _use(exported: Exported) -> list[str]:
    """How to use it, line by line."""
    place = printable(json.dumps(str(as_typed(exported.path)), ensure_ascii=False), 1000)
    match exported.format:
        case "onnx":
            return [
                "import onnxruntime",
                f"session = onnxruntime.InferenceSession({place})",
                'logits, probabilities = session.run(None, {"images": images})',
            ]
        case "torch-export":
            return [
                "import torch",
                f"model = torch.export.load({place}).module()",
                "logits, probabilities = model(images)",
            ]
    source = shell_word(as_typed(exported.others[0]))
    return [f"python {source} IMAGE..."]
