"""Builds the compiled kernels, which belong to no interpreter; all else is in pyproject.toml."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from setuptools import Command, Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.errors import ExecError

HERE = Path("src", "tenfold", "native")
SOURCE = HERE / "source"


def _module(name: str) -> Any:  # noqa: ANN401 - a module is what it is
    """A module of the package, which cannot be imported before it is installed."""
    specification = importlib.util.spec_from_file_location(f"tenfold_{name}", HERE / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[module.__name__] = module
    specification.loader.exec_module(module)
    return module


built, compiling = _module("built"), _module("compiling")

LIBRARIES = Path("tenfold", "native", built.LIBRARIES)


class WithKernels(Distribution):
    """A distribution that may have libraries, which make it one for a platform."""

    has_libraries = False

    def has_ext_modules(self) -> bool:
        """Asked where a thing for one platform is treated differently."""
        return self.has_libraries


class Build(build):
    """What setuptools builds, and the kernels."""

    sub_commands: ClassVar = [*build.sub_commands, ("build_kernels", None)]


class BuildKernels(Command):
    """A library for each instruction set of the processor, and a record of what was built.

    `TENFOLD_NATIVE` in the environment decides: with 0 nothing is compiled, with 1 a failure ends
    the installation, and else tenfold is installed without the libraries that cannot be built. An
    instruction set, with which a program can be made to use one library, changes nothing here.
    """

    distribution: WithKernels
    description = "compile the kernels"
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []
    editable_mode = False

    def initialize_options(self) -> None:
        """As setuptools wants it."""
        self.build_lib: Any = None

    def finalize_options(self) -> None:
        """As setuptools wants it."""
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        """Compile into the folder of the package; in an editable installation, beside the sources.

        Raises:
            ExecError: the libraries are required, and not all of them can be built.
        """
        choice = os.environ.get("TENFOLD_NATIVE", "")
        names = [name for names in built.INSTRUCTION_SETS.values() for name in names]
        if choice not in ("", "0", "1", *names):
            raise ExecError(f"TENFOLD_NATIVE is {choice!r}, wanted 0 or 1")
        folder = self.folder()
        if folder.exists():
            shutil.rmtree(folder)  # so that nothing older is used
        folder.mkdir(parents=True)
        record, said = _refused() if choice == "0" else _compiled(folder)
        if choice == "1" and (record.missing or not record.flags):
            shutil.rmtree(folder)
            raise ExecError(f"TENFOLD_NATIVE is 1, but {_summary(record)}\n{said}")
        built.write_record(folder, record)
        self.distribution.has_libraries = bool(record.flags)
        self.announce(f"tenfold: {_summary(record)}", logging.WARNING)

    def get_source_files(self) -> list[str]:
        """What a source distribution must have."""
        return [path.as_posix() for path in built.source_files(SOURCE)]

    def get_outputs(self) -> list[str]:
        """The files that were built, where they are if nothing is editable."""
        there = self.folder()
        names = sorted(path.name for path in there.iterdir()) if there.exists() else []
        return [str(Path(self.build_lib) / LIBRARIES / name) for name in names]

    def get_output_mapping(self) -> dict[str, str]:
        """Where these files are in an editable installation."""
        outputs = self.get_outputs() if self.editable_mode else []
        return {output: str(self.folder() / Path(output).name) for output in outputs}

    def folder(self) -> Path:
        """Where the libraries are put."""
        return Path("src" if self.editable_mode else self.build_lib) / LIBRARIES


class Wheel(bdist_wheel):
    """A wheel for one platform and any Python if it has libraries, and for all platforms if not."""

    distribution: WithKernels

    def run(self) -> None:
        """Build the kernels first: they decide where in the wheel the package is."""
        self.run_command("build_kernels")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """The tag, with the one processor that the libraries are for."""
        return "py3", "none", super().get_tag()[2].replace("universal2", built.processor())


_REMEDIES = {compiling.NO_COMPILER: " (install g++ or clang++, and then tenfold again)"}


def _refused() -> tuple[Any, str]:
    names = built.INSTRUCTION_SETS.get(built.processor(), ())
    missing = dict.fromkeys(names, "tenfold was installed with TENFOLD_NATIVE=0")
    return built.Record(built.source_digest(SOURCE), missing=missing), ""


def _compiled(folder: Path) -> tuple[Any, str]:
    """The record of what was compiled into a folder, and what the compiler said where it failed."""
    processor, digest = built.processor(), built.source_digest(SOURCE)
    names = built.INSTRUCTION_SETS.get(processor, ())
    libraries = {name: folder / built.library_file(name) for name in names}
    outcome = compiling.compile_libraries(processor, SOURCE, libraries, digest)
    missing = {
        name: f"{failure.reason} when tenfold was installed{_REMEDIES.get(failure.reason, '')}"
        for name, failure in outcome.failures.items()
    }
    said = "\n".join(dict.fromkeys(failure.output for failure in outcome.failures.values()))
    return built.Record(digest, outcome.compiler, outcome.flags, missing), said


def _summary(record: Any) -> str:  # noqa: ANN401 - built.Record
    """What was built and what was not, in one line."""
    parts = [f"built {_names(record.flags)} with {record.compiler}"] if record.flags else []
    for reason in dict.fromkeys(record.missing.values()):
        names = [name for name in record.missing if record.missing[name] == reason]
        parts += [f"no {_names(names)}: {reason}"]
    return "; ".join(parts) or f"there are no kernels for {built.processor()} processors"


def _names(instruction_sets: Iterable[str]) -> str:
    return f"kernels for {' and '.join(sorted(instruction_sets))}"


if __name__ == "__main__":
    setup(
        distclass=WithKernels,
        cmdclass={"build": Build, "build_kernels": BuildKernels, "bdist_wheel": Wheel},
    )
