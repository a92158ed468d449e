"""Kernels exist wherever they can be built; otherwise, the reason is given."""

from __future__ import annotations

import os
import shutil

import pytest

from tenfold.errors import NotNativeError
from tenfold.models.layers import Flatten
from tenfold.native import network
from tenfold.native.built import INSTRUCTION_SETS, processor
from tenfold.native.library import Kernels, NoKernels, find_kernels
from tenfold.native.network import CompiledNetwork


@pytest.mark.skipif(not INSTRUCTION_SETS.get(processor()), reason="no kernels are made for it")
def test_with_a_compiler_there_are_kernels() -> None:
    """Otherwise, every test of the kernels would be skipped unnoticed."""
    compilers = [name for name in ("c++", "g++", "clang++") if shutil.which(name)]
    if not compilers or os.environ.get("TENFOLD_NATIVE") == "0":
        pytest.skip("there is no compiler, or kernels are switched off")
    found = find_kernels()
    assert isinstance(found, Kernels), f"{compilers[0]} is here, but {found}"


def test_without_kernels_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "find_kernels", lambda: NoKernels("c++ was ill that day"))
    with pytest.raises(NotNativeError, match=r"^c\+\+ was ill that day$"):
        CompiledNetwork((Flatten(input=-1),), (1, 2, 2), 8)
