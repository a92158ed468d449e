"""Packages that only an export needs."""

from __future__ import annotations

import importlib

from tenfold.errors import UsageError, listing, reason_of

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Refuse to go on where the packages for ONNX cannot be imported.

    Raises:
        UsageError: with the command that installs them.
    """
    problems, last = [], None
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            problems.append(name)
            last = error
    if last is not None:
        raise UsageError(
            f"exporting to ONNX needs {listing(problems)}: {reason_of(last)}",
            remedy="install what is missing: pip install 'tenfold[export]'",
        ) from last
