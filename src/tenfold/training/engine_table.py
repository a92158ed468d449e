"""The table of engines."""

from __future__ import annotations

from tenfold.errors import UsageError, did_you_mean

NATIVE, TORCH = "native", "torch"

ENGINES: dict[str, str] = {
    NATIVE: "tenfold.training.native_engine:NativeEngine",
    TORCH: "tenfold.training.torch_engine:TorchEngine",
}
"""The class of each engine, as `module:Class`, imported when it is used."""

AUTO = "auto"
"""The native engine if it can take a run's steps, otherwise PyTorch."""


def require_engine(name: str) -> None:
    """Refuse a name that is neither in `ENGINES` nor `auto`.

    Raises:
        UsageError: unknown name; suggests the closest one.
    """
    known = [AUTO, *ENGINES]
    if name not in known:
        raise UsageError(f"there is no engine {name!r}", remedy=did_you_mean(name, known))
