"""Both engines, for tests that every engine must pass; where there are no kernels, it says why."""

from __future__ import annotations

import pytest

from tenfold.native.library import NoKernels, find_kernels

FOUND = find_kernels()

needs_kernels = pytest.mark.skipif(
    isinstance(FOUND, NoKernels), reason=f"no kernels: {getattr(FOUND, 'reason', '')}"
)

ENGINES = ("torch", pytest.param("native", marks=needs_kernels))
"""Names, as values of a parameter."""

WITH_AND_WITHOUT_KERNELS = (False, pytest.param(True, marks=needs_kernels))
