"""Small copies of the project, built the way an installer builds them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from command_line import Answer

ROOT = Path(__file__).parents[2]
SOURCE = Path("src", "tenfold", "native", "source")

KERNELS = """
#include "interface.h"

TenfoldNetwork* tenfold_network_new(const TenfoldLayer*, int32_t, const int32_t*, int64_t,
                                    int32_t, int32_t) {
  return nullptr;
}
void tenfold_network_free(TenfoldNetwork*) {}
int32_t tenfold_train(TenfoldNetwork*, const TenfoldTensor*, int32_t, const TenfoldImages*,
                      const TenfoldStepSettings*, const TenfoldAugmentation*,
                      const TenfoldStretch*) {
  return TENFOLD_INVALID;
}
int32_t tenfold_predict(TenfoldNetwork*, const TenfoldTensor*, int32_t, const TenfoldImages*,
                        int32_t, float*) {
  return TENFOLD_INVALID;
}
"""
"""Kernels that compute nothing and compile quickly."""

FRAME = ("interface.h", "processor.cpp", "exports.map")
"""The sources that a small copy keeps unchanged."""

PACKAGE = ("__init__.py", "__init__.pyi", "_lazy.py", "_version.py", "errors.py")
"""The package's files in a small copy, besides the folder `native`."""


class Built(NamedTuple):
    """The result of a build: the file and what was printed."""

    file: Path
    out: str


class Tree:
    """A small copy of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.native = folder / "src" / "tenfold" / "native"
        self.libraries = self.native / "libraries"
        self.source = folder / SOURCE
        self.source.mkdir(parents=True)
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        for name in PACKAGE:
            shutil.copy(ROOT / "src" / "tenfold" / name, self.native.parent)
        for path in (ROOT / "src" / "tenfold" / "native").glob("*.py"):
            shutil.copy(path, self.native)
        for name in FRAME:
            shutil.copy(ROOT / SOURCE / name, self.source)
        (self.source / "kernels.cpp").write_text(KERNELS)

    def try_to_build(self, kind: str, **environment: str) -> Answer:
        """Build a `wheel`, an `editable` wheel or an `sdist`, as an installer does."""
        code = f"from setuptools import build_meta as b; print(); print(b.build_{kind}('dist'))"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CXX", "TENFOLD_NATIVE", "PYTHONPATH")
        }
        answer = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
        )
        return Answer(answer.returncode, answer.stdout, answer.stderr)

    def build(self, kind: str, **environment: str) -> Built:
        """Build, and require success."""
        answer = self.try_to_build(kind, **environment)
        assert answer.code == 0, answer.err
        file = self.folder / "dist" / answer.out.splitlines()[-1]
        return Built(file, answer.out + answer.err)


def program(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def loaded_from(packages: Path, **environment: str) -> dict[str, object]:
    """What the loader of the tenfold in a folder finds, in a separate process."""
    code = (
        "import json\n"
        "from tenfold.native.library import find_kernels\n"
        "found = {k: v for k, v in vars(find_kernels()).items() if k != 'functions'}\n"
        "print(json.dumps(found))\n"
    )
    inherited = {name: value for name, value in os.environ.items() if name != "TENFOLD_NATIVE"}
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "PYTHONPATH": str(packages), **environment},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)
