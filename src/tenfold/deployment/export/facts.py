"""What an exported file says about its model."""

from __future__ import annotations

import json

from tenfold._version import __version__
from tenfold.deployment.bundle import Bundle


def metadata(bundle: Bundle) -> dict[str, str]:
    """By key, all that a program needs besides the file: text as it is, anything else as JSON.

    Nothing in it says where the data or the model lie on this computer.
    """
    header = bundle.header
    background = None if header.background is None else header.background.model_dump()
    return {
        "model": header.model,
        "classes": _json(header.classes),
        "input_shape": _json(header.input_shape),
        "resize": header.resize,
        "depth": _json(header.depth),
        "background": _json(background),
        "temperature": _json(header.temperature),
        "data_fingerprint": str(header.data.get("fingerprint", "")),
        "model_sha256": bundle.sha256,
        "tenfold_version": __version__,
    }


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # A class may be named after a folder whose name is not valid Unicode.
    return text.encode(errors="backslashreplace").decode()
