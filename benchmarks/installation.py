"""What installing tenfold downloads, and how large the environment becomes.

    python benchmarks/installation.py

Asks pip what it would download into an empty environment, with the newest PyTorch that it finds,
which on Linux brings CUDA, and with the versions in constraints.txt; then installs the latter into
a new environment. For that, pip must be set up to find PyTorch's build for the CPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

from measuring import Figure, begin, finish, parsed, parser, seconds

PROJECT = Path(__file__).parent.parent

CONSTRAINED = ["-c", str(PROJECT / "constraints.txt")]

MIB = 2**20


def pip(python: Path | str, *words: str) -> None:
    """Run pip; what it says is shown if it fails."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def downloads(folder: Path, *options: str) -> dict[str, float]:
    """MiB of every package that pip would download, by name."""
    report = folder / "report.json"
    dry = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", str(report)]
    pip(sys.executable, *dry, *options, str(PROJECT))
    return {
        package["metadata"]["name"]: size_of(package["download_info"]["url"]) / MIB
        for package in json.loads(report.read_text())["install"]
        if package["metadata"]["name"] != "tenfold"
    }


def size_of(url: str) -> int:
    """Bytes of a file, here or elsewhere."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path)).stat().st_size
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
        return int(answer.headers["Content-Length"])


def largest(sizes: dict[str, float], count: int = 6) -> dict[str, float]:
    """The largest of the sizes."""
    found = sorted(sizes.items(), key=lambda pair: -pair[1])[:count]
    return {name: round(size, 1) for name, size in found}


def installed(folder: Path) -> dict[str, float]:
    """MiB of every package and module in an environment's site-packages."""
    (packages,) = folder.glob("lib/python*/site-packages")
    return {
        part.name: sum(f.stat().st_size for f in (part, *part.rglob("*")) if f.is_file()) / MIB
        for part in packages.iterdir()
    }


def main() -> None:
    """See the module."""
    options = parsed(parser(__doc__, rounds=1))
    options.rounds = 1
    result = begin("installation", options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for way, words in {"pip's default": [], "constraints.txt": CONSTRAINED}.items():
            sizes = downloads(folder, *words)
            result.figures.append(Figure("download", way, "MiB", [sum(sizes.values())]))
            result.facts[way] = {"packages": len(sizes), "largest": largest(sizes)}
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        python = environment / "bin" / "python"
        before = sum(installed(environment).values())
        taken = seconds(lambda: pip(python, "install", "--quiet", *CONSTRAINED, str(PROJECT)))
        sizes = installed(environment)
        result.figures.append(
            Figure("environment", "constraints.txt", "MiB", [sum(sizes.values()) - before])
        )
        result.figures.append(Figure("installing", "constraints.txt", "s", [taken]))
        result.facts["environment"] = {"largest": largest(sizes)}
    finish(result, options)


if __name__ == "__main__":
    main()
