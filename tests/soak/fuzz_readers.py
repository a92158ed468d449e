"""Fuzz every reader of files, guided by coverage.

    python tests/soak/fuzz_readers.py --seconds 60
    python tests/soak/fuzz_readers.py --reader npz --seconds 600

Each reader runs in a process of its own, on changes of the valid files that `readers.py` makes. A
file may be read, or be refused with a `TenfoldError` of one printable line. Anything else is a
finding: another exception, a warning, a crash, a hang, or too much memory. Of each finding, the
smallest file found and what happened are stored. The exit code is 0 if there is none.

It needs atheris, which is not among the dependencies: https://github.com/google/atheris
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

# Of the rest, modules are imported only where they are instrumented.
if TYPE_CHECKING:
    from readers import Reader

INSTRUMENTED = ("tenfold", "PIL", "zipfile", "tarfile", "gzip", "tomllib", "pickletools")
"""Modules whose coverage guides the changes; the fewer, the faster."""

MEBIBYTE = 2**20
MOST_STARTS = 50
"""Processes for one reader; one that crashes, hangs or is out of memory is followed by another."""

ARTIFACT = re.compile(r"(crash|timeout|oom|leak)-[0-9a-f]+")
RESET_PEAK, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


# --- One process ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """What is wrong about how a file was read.

    Attributes:
        kind: in a word.
        place: the same for all files for which this happens.
        text: everything there is to know.
    """

    kind: str
    place: str
    text: str

    @property
    def name(self) -> str:
        """A name for its file."""
        return f"{self.kind}-{hashlib.sha256(self.place.encode()).hexdigest()[:10]}"


class Target:
    """What the fuzzer calls with every input.

    Args:
        reader: what is tested.
        path: of the file that it reads.
        findings: the folder for files with problems; the name of each begins with `stem`.
        stem: the reader's name.
        memory: bytes that reading may take.
    """

    def __init__(self, reader: Reader, path: Path, findings: Path, stem: str, memory: int) -> None:
        self.reader, self.path = reader, path
        self.findings, self.stem, self.memory = findings, stem, memory
        self.in_use = memory_in_use()

    def __call__(self, data: bytes) -> None:
        file = self.reader.made(data)
        self.path.write_bytes(file)
        memory_in_use()
        problems = [self._problem_of(use) for use in self.reader.uses]
        taken = peak_of_memory() - self.in_use
        if taken > self.memory:
            problems.append(Problem("memory", "", f"it takes {taken // MEBIBYTE:,} MiB"))
        for problem in filter(None, problems):
            store(self.findings, f"{self.stem}-{problem.name}", file, problem.text)

    def _problem_of(self, use: Callable[[Path], object]) -> Problem | None:
        with warnings.catch_warnings(record=True) as told:
            problem = problem_of(use, self.path)
        if problem is None and told:
            place = f"{told[0].category.__name__} {told[0].filename}:{told[0].lineno}"
            problem = Problem("warning", place, f"{place}: {told[0].message}")
        return problem


def problem_of(use: Callable[[Path], object], path: Path) -> Problem | None:
    """What is wrong about how a file is read or refused."""
    from tenfold.errors import LONGEST_REMEDY, LONGEST_SENTENCE, TenfoldError

    try:
        use(path)
    except TenfoldError as error:
        message = str(error)
        if message.isprintable() and 0 < len(message) <= LONGEST_SENTENCE + 2 + LONGEST_REMEDY:
            return None
        return Problem("message", place_of(error), f"{message!r}\n{traceback.format_exc()}")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - some libraries' panics are no Exception
        return Problem(type(error).__name__, place_of(error), traceback.format_exc())
    return None


def place_of(error: BaseException) -> str:
    """The lines that an error has passed through, each once."""
    lines = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return " ".join([type(error).__name__, *dict.fromkeys(lines)])


def memory_in_use() -> int:
    """Bytes of memory in use now, from which `peak_of_memory` counts; 0 if it is not known."""
    if not RESET_PEAK.exists():
        return 0
    RESET_PEAK.write_text("5")
    return peak_of_memory()


def peak_of_memory() -> int:
    """The most bytes of memory in use since the last call of `memory_in_use`; 0 if unknown."""
    found = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text()) if STATUS.exists() else None
    return 1024 * int(found[1]) if found else 0


def store(findings: Path, name: str, file: bytes, text: str) -> None:
    """Keep the file of a finding, unless there is a smaller one."""
    path = findings / name
    if not path.exists() or path.stat().st_size > len(file):
        path.write_bytes(file)
        path.with_name(f"{name}.txt").write_text(text, errors="backslashreplace")


def fuzz(options: argparse.Namespace) -> None:
    """Test one reader in this process, which the fuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        readers = importlib.import_module("readers")
    reader: Reader = readers.READERS[options.process]
    corpus = options.folder / "corpus"
    path = options.folder / "files" / reader.name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not corpus.exists():
        corpus.mkdir()
        for number, seed in enumerate(reader.seeds(options.folder / "files")):
            (corpus / f"seed-{number}").write_bytes(seed)
    memory = options.memory * MEBIBYTE
    in_use = memory_in_use() // MEBIBYTE
    arguments = [
        f"-max_total_time={options.seconds}",
        f"-timeout={options.hang}",
        f"-rss_limit_mb={in_use + 2 * options.memory}",
        f"-max_len={reader.longest}",
        f"-artifact_prefix={options.folder}/",
        f"-seed={options.seed}",
        "-print_final_stats=1",
        str(corpus),
    ]
    target = Target(reader, path, options.findings, options.process, memory)
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


# --- All of them ------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came of one reader.

    Attributes:
        executions: inputs tried.
        seconds: spent on them.
        coverage: places in the code that were reached.
        starts: of processes.
        failure: why it could not be tested, if so.
    """

    executions: int = 0
    seconds: float = 0.0
    coverage: int = 0
    starts: int = 0
    failure: str = ""


def tested(name: str, reader: Reader, options: argparse.Namespace) -> Tally:
    """Test one reader, in as many processes as it takes."""
    tally = Tally()
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(prefix="tenfold-fuzz-") as work:
        folder = Path(work)
        while (left := round(end - time.monotonic())) > 0 and tally.starts < MOST_STARTS:
            tally.starts += 1
            start = time.monotonic()
            log = log_of_process(name, folder, left, options)
            tally.seconds += time.monotonic() - start
            counts = re.findall(r"^(?:stat::number_of_executed_units: |#)(\d+)", log, re.MULTILINE)
            tally.executions += int(counts[-1]) if counts else 0
            tally.coverage = max([tally.coverage, *map(int, re.findall(r" cov: (\d+)", log))])
            ended = [path for path in folder.iterdir() if ARTIFACT.fullmatch(path.name)]
            for path in ended:
                kind, _, digest = path.name.partition("-")
                file = reader.made(path.read_bytes())
                store(options.findings, f"{name}-{kind}-{digest[:10]}", file, log[-20_000:])
                path.unlink()
            if not ended and "Done " not in log:
                tally.failure = log[-2000:]
                break
    return tally


def log_of_process(name: str, folder: Path, seconds: int, options: argparse.Namespace) -> str:
    """Test one reader in a process, and return what it says."""
    line = [sys.executable, __file__, "--process", name, "--folder", str(folder)]
    for option in ("findings", "hang", "memory", "seed"):
        line += [f"--{option}", str(getattr(options, option))]
    ended = subprocess.run(
        [*line, "--seconds", str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return ended.stdout.decode(errors="replace")


def findings_of(name: str, findings: Path) -> list[str]:
    """The names of a reader's files with problems."""
    return sorted(path.stem for path in findings.glob(f"{name}-*.txt"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reader", action="append", help="default: every reader")
    parser.add_argument("--seconds", type=int, default=60, help="for each reader")
    parser.add_argument("--hang", type=int, default=20, help="seconds that a file may take")
    parser.add_argument("--memory", type=int, default=1024, help="MiB that a file may take")
    parser.add_argument("--findings", type=Path, help="folder; default: a new one")
    parser.add_argument("--seed", type=int, default=0, help="default: a new one")
    parser.add_argument("--process", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is missing; install it with: pip install atheris", file=sys.stderr)
        sys.exit(2)
    if options.process:
        fuzz(options)
    from readers import READERS

    unknown = set(options.reader or ()) - READERS.keys()
    if unknown:
        parser.error(f"there is no reader {min(unknown)!r}, choose from: {', '.join(READERS)}")
    if options.findings is None:
        options.findings = Path(tempfile.mkdtemp(prefix="tenfold-findings-"))
    options.findings.mkdir(parents=True, exist_ok=True)
    print(f"files with problems are kept in {options.findings}")
    print(f"{'reader':15} {'executions':>10} {'seconds':>8} {'coverage':>8} {'findings':>8}")
    tallies = []
    for name in options.reader or READERS:
        tally = tested(name, READERS[name], options)
        tallies.append(tally)
        count = len(findings_of(name, options.findings))
        print(
            f"{name:15} {tally.executions:10,} {tally.seconds:8.0f} {tally.coverage:8,} {count:8}",
            flush=True,
        )
        if tally.failure:
            print(f"{name} could not be tested: {tally.failure}", file=sys.stderr)
    found = [each for name in READERS for each in findings_of(name, options.findings)]
    print(*found, sep="\n")
    sys.exit(1 if found or any(tally.failure for tally in tallies) else 0)


if __name__ == "__main__":
    main()
