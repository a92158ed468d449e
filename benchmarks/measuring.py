"""What the benchmarks share: turns, figures, results as JSON, and comparison with stored results.

Every benchmark prints a table of medians with the lowest and highest sample, writes all samples to
the file that `--out` names, and with `--against FILE` compares them with an earlier result.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from tenfold.native.library import Kernels, find_kernels
from tenfold.native.threads import available_cores

RESULTS = Path(__file__).parent / "results"
"""Results that are stored, and made into a page."""

LEAST_CHANGE = 0.1
"""A smaller change of a median is not reported: a machine changes as much from hour to hour."""

LEAST_FALL = 0.01
"""A smaller fall of the median of an accuracy is not reported."""

SHARE, DIFFERENCE = "", "percentage points"
"""The units of accuracies, of which more is better, and of differences, of which neither is."""

_SETTINGS = (
    *("OMP_", "GOMP_", "KMP_", "TENFOLD_NATIVE", "ATEN_", "ONEDNN_", "DNNL_", "MKL_"),
    *("LD_PRELOAD", "MALLOC_"),
)
"""Beginnings of environment variables that change how fast something is."""

PACKAGES = ("tenfold", "torch", "numpy", "pillow")


@dataclass(frozen=True)
class Figure:
    """Samples of one quantity.

    Attributes:
        of: what was measured, such as a recipe.
        way: how it was done, such as by which engine.
        unit: of the samples; less is better, except for `SHARE` and `DIFFERENCE`.
        samples: in the order in which they were measured.
    """

    of: str
    way: str
    unit: str
    samples: list[float]

    @property
    def median(self) -> float:
        """The middle sample."""
        return statistics.median(self.samples)

    @property
    def text(self) -> str:
        """The median, with the lowest and highest sample."""
        low, high = min(self.samples), max(self.samples)
        return f"{number(self.median)} ({number(low)} to {number(high)})"


@dataclass(frozen=True)
class Result:
    """What a benchmark measured, and where.

    Attributes:
        benchmark: its name.
        settings: what it was called with.
        figures: what it measured.
        facts: anything else that it found out.
        machine: see `machine`.
        measured: the date.
        revision: of the source code; empty if it is not known.
    """

    benchmark: str
    settings: dict[str, object]
    figures: list[Figure] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
    machine: dict[str, object] = field(default_factory=lambda: machine())
    measured: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    revision: str = field(default_factory=lambda: revision())

    def figure(self, of: str, way: str) -> Figure:
        """One of the figures.

        Raises:
            KeyError: it was not measured.
        """
        for figure in self.figures:
            if (figure.of, figure.way) == (of, way):
                return figure
        raise KeyError((of, way))

    @classmethod
    def read(cls, path: Path) -> Result:
        """A result that `write` has written."""
        values = json.loads(path.read_text())
        figures = [Figure(**figure) for figure in values.pop("figures")]
        return cls(**{"revision": ""} | values, figures=figures)

    def write(self, path: Path) -> None:
        """Write it as JSON, one figure a line."""
        values = asdict(self)
        figures = ",\n".join(f"  {json.dumps(figure)}" for figure in values.pop("figures"))
        rest = json.dumps(values, indent=1)[:-2]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{rest},\n "figures": [\n{figures}\n ]\n}}\n')

    def table(self) -> str:
        """The figures as text, one a line."""
        rows = [(f.of, f.way, f.text, f.unit) for f in self.figures]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        return "\n".join(
            "  ".join((*(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=False)), row[3]))
            for row in rows
        )


def number(value: float) -> str:
    """A number with three significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:.0f}"
    digits = 2 - int(f"{abs(value):e}".partition("e")[2])
    return f"{value:,.{max(0, digits)}f}"


def machine() -> dict[str, object]:
    """The machine and the versions."""
    kernels = find_kernels()
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gib": round(_memory() / 2**30, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "kernels": kernels.instruction_set if isinstance(kernels, Kernels) else kernels.reason,
        **{name: version(name) for name in PACKAGES},
        "cifar10": "CIFAR-10" if data_for("cifar10") == "cifar10" else "a JPEG copy of CIFAR-10",
        "settings": {
            name: os.environ[name] for name in sorted(os.environ) if name.startswith(_SETTINGS)
        },
    }


def revision() -> str:
    """The commit of the source code, with a plus sign if the code has been changed since."""
    git = ["git", "-C", str(Path(__file__).parent.parent)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True
        )
        same = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "src"], check=False)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+" if same.returncode else "")


def version(package: str) -> str:
    """The version of an installed package; empty if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    flags = {word for line in lines if line.startswith("flags") for word in line.split()}
    best = next(
        (text for flag, text in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), ""
    )
    return f"{name} with {best}" if best else name


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return 0


def data_for(name: str) -> str:
    """A data set's name, or for CIFAR-10, if only its JPEG copy is there, the path of that."""
    root = Path(os.environ.get("TENFOLD_DATA", "."))
    original = (root / "cifar-10-batches-py", root / "cifar-10-batches-bin")
    copy = root / "cifar10-jpeg.tar.xz"
    if name != "cifar10" or any(path.exists() for path in original) or not copy.exists():
        return name
    return str(copy)


def in_turns(
    ways: Mapping[str, Callable[[], float]],
    rounds: int,
    *,
    warm_up: bool = True,
    pause: float = 0.0,
) -> dict[str, list[float]]:
    """Samples of all ways, which take turns, so that noise affects them equally.

    They take them in a random order, the same for every call, so that no two always follow each
    other.

    Args:
        ways: by name, a function that returns one sample.
        rounds: number of samples of each.
        warm_up: whether a first round is not counted.
        pause: seconds before each, for threads of the one before to go to sleep.
    """
    samples: dict[str, list[float]] = {name: [] for name in ways}
    generator = random.Random(0)
    for turn in range(-1 if warm_up else 0, rounds):
        for name in generator.sample(list(ways), len(ways)):
            time.sleep(pause)
            sample = ways[name]()
            if turn >= 0:
                samples[name].append(sample)
    return samples


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@dataclass(frozen=True)
class Finished:
    """A command that was run.

    Attributes:
        seconds: from its start to its end.
        out: its standard output.
    """

    seconds: float
    out: str


def run(command: Sequence[str | Path], **environment: str) -> Finished:
    """Run a command to its end.

    Raises:
        SystemExit: it failed; shows what it said.
    """
    words = [str(word) for word in command]
    started = time.perf_counter()
    process = subprocess.Popen(
        words,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate()
    taken = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{' '.join(words)} failed with {process.returncode}:\n{out}{err}")
    return Finished(taken, out)


IMPORT = "import torch, at once"
"""What commands are compared with: a process that imports PyTorch and then ends at once."""

TENFOLD = (sys.executable, "-m", "tenfold")
"""The command line of this environment."""


def one_of(known: Iterable[str]) -> Callable[[str], str]:
    """The type of an argument that is one of these words."""
    names = list(known)

    def checked(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(
                f"there is no {text}, choose from {', '.join(map(repr, names))}"
            )
        return text

    return checked


def at_least_one(text: str) -> int:
    """The type of an argument that is a positive number."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def existing(text: str) -> Path:
    """The type of an argument that is the path of something."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return Path(text)


def stored(text: str) -> Path:
    """The type of an argument that is the path of a result."""
    try:
        Result.read(existing(text))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"{text} is not a benchmark's result") from error
    return Path(text)


def writable(text: str) -> Path:
    """The type of an argument that is the path of a file to write later."""
    path = Path(text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        path.open("a").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from error
    return path


def stop_in_one_line(what: str = "nothing was stored") -> None:
    """Let Ctrl-C end this process with one line instead of a traceback."""

    def said(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            print(f"{Path(sys.argv[0]).name}: interrupted, {what}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = said


def parser(description: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="fewer and shorter measurements")
    made.add_argument(
        "--rounds", type=at_least_one, help=f"samples of each figure; by default {rounds}"
    )
    made.add_argument("--out", type=writable, metavar="FILE", help="where to write the result")
    made.add_argument("--against", type=stored, metavar="FILE", help="a result to compare with")
    made.set_defaults(usual_rounds=rounds)
    return made


def choose_from(
    made: argparse.ArgumentParser, names: str, known: Iterable[str], usual: Iterable[str] = ()
) -> None:
    """Let names be given as arguments; by default the usual ones, or all."""
    words, by_default = list(known), list(usual)
    made.add_argument(
        names,
        nargs="*",
        type=one_of(words),
        default=by_default or words,
        metavar=names.removesuffix("s").upper(),
        help=f"by default {', '.join(map(repr, by_default or words))}",
    )


def parsed(made: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, with the number of rounds filled in."""
    options = made.parse_args()
    stop_in_one_line()
    if options.rounds is None:
        options.rounds = min(3, options.usual_rounds) if options.quick else options.usual_rounds
    return options


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """The options that decide what is measured."""
    left_out = {"out", "against", "usual_rounds"}
    return {
        key: value.name if isinstance(value, Path) else value  # not where it is on this machine
        for key, value in vars(options).items()
        if key not in left_out
    }


def begin(benchmark: str, options: argparse.Namespace, **machine: object) -> Result:
    """A result without figures.

    Args:
        benchmark: its name.
        options: as they decide what is measured.
        machine: facts about the machine that these options change.

    Raises:
        SystemExit: it could not be compared with the one that `--against` names.
    """
    result = Result(benchmark, settings_of(options))
    result.machine.update(machine)
    if options.against is not None:
        different = incomparable(Result.read(options.against), result)
        if different:
            sys.exit(f"{options.against} cannot be compared with this: {different}")
    return result


def finish(result: Result, options: argparse.Namespace) -> None:
    """Show a result, write it, and compare it with another.

    Raises:
        SystemExit: something is worse than in the other result, or missing.
    """
    before = None if options.against is None else Result.read(options.against)
    print(result.table())
    if options.out is not None:
        result.write(options.out)
    if before is None:
        return
    worse = changes(before, result)
    print("\n".join(worse) or f"nothing is worse than in {options.against}")
    if worse:
        sys.exit(1)


def incomparable(before: Result, after: Result) -> str:
    """Why two results cannot be compared; empty if they can."""
    pairs = {
        "benchmark": (before.benchmark, after.benchmark),
        **{key: (before.settings.get(key), after.settings.get(key)) for key in after.settings},
        **{
            key: (before.machine.get(key), after.machine.get(key))
            for key in ("processor", "cores", "kernels", "cifar10", "settings")
        },
    }
    return ", ".join(
        f"{key} was {old}, is {new}"
        for key, (old, new) in pairs.items()
        if in_any_order(old) != in_any_order(new) and key != "rounds"
    )


def in_any_order(setting: object) -> object:
    """A list's items in a fixed order; anything else as it is."""
    return sorted(setting, key=str) if isinstance(setting, list) else setting


def changes(before: Result, after: Result) -> list[str]:
    """The figures that became worse, beyond the spread of both, and those that are missing.

    Slower means that every sample is above every earlier one, and that the median rose by more than
    `LEAST_CHANGE`; less accurate, that every sample is below, and the median by `LEAST_FALL`.
    """
    now = {(f.of, f.way, f.unit) for f in after.figures}
    found = [
        f"missing: {figure.of}, {figure.way}: was {figure.text} {figure.unit}"
        for figure in before.figures
        if (figure.of, figure.way, figure.unit) not in now
    ]
    earlier = {(f.of, f.way, f.unit): f for f in before.figures}
    for figure in after.figures:
        old = earlier.get((figure.of, figure.way, figure.unit))
        if old is None or figure.unit == DIFFERENCE:
            continue
        if figure.unit == SHARE:
            is_beyond = max(figure.samples) < min(old.samples)
            word = "less" if is_beyond and figure.median < old.median - LEAST_FALL else ""
        else:
            is_beyond = min(figure.samples) > max(old.samples)
            is_worse = is_beyond and figure.median > (1 + LEAST_CHANGE) * old.median
            is_time = figure.unit.partition(" ")[0] in ("s", "ms", "µs")
            word = ("slower" if is_time else "more") if is_worse else ""
        if word:
            text = f"{word}: {figure.of}, {figure.way}: was {old.text}, is {figure.text}"
            found.append(f"{text} {figure.unit}".rstrip())
    return found
