"""What Schemathesis has to know of the server beyond its OpenAPI document.

It loads this module by the name in SCHEMATHESIS_HOOKS.
"""

from __future__ import annotations

import io
from typing import Any

import schemathesis
from hypothesis import strategies as st
from PIL import Image

_IMAGES = ("image/*", "application/octet-stream")


def _encoded(color: int, size: tuple[int, int], mode: str, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, kind)
    return file.getvalue()


_sides = st.integers(1, 40)
_pictures = st.builds(
    _encoded,
    st.integers(0, 255),
    st.tuples(_sides, _sides),
    st.sampled_from(["L", "RGB", "P"]),
    st.sampled_from(["PNG", "BMP", "GIF", "TIFF"]),
)
for _kind in _IMAGES:
    schemathesis.openapi.media_type(_kind, _pictures)


def _is_valid(case: Any) -> bool:
    """Whether a request is to be one that the document allows."""
    return case.meta is not None and case.meta.generation.mode.is_positive


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out requests that the document does not allow, though they are made to be valid.

    For forms, Schemathesis once passes over the enumeration of labels.
    """
    body = case.body if isinstance(case.body, dict) else {}
    return not (_is_valid(case) and body.get("label") == "")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Keep valid requests valid where a schema cannot say what is valid."""
    body = case.body if isinstance(case.body, dict) else {}
    images = body.get("images", body.get("file", ""))
    if _is_valid(case) and len(images) > 1 and "explain" in (case.query or {}):
        case.query = {**case.query, "explain": "false"}  # which is for one image at a time
