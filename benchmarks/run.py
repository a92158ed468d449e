"""Run the benchmarks, store their results, and make the page of them.

    python benchmarks/run.py                       # everything, for more than two hours
    python benchmarks/run.py --quick               # the same, shorter
    python benchmarks/run.py throughput startup    # only some

Results are stored in benchmarks/results and made into docs/performance.md and the figures in other
documents. Quick ones are stored in benchmarks/quick, and with `--results FOLDER` all are stored
there; a page of them is made by `benchmarks/page.py --results FOLDER`. With `--against FOLDER`,
each result is compared with an earlier one, and the exit code is 1 if something became worse beyond
the spread of both, or is missing. Nothing else should run on the machine. Other libraries are
measured if they are installed. Folders of pictures are looked for where TENFOLD_DATA says.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from measuring import RESULTS, choose_from, existing, stop_in_one_line
from page import FOLDER_FIGURES, SECTIONS

HERE = Path(__file__).parent

COMMANDS = {
    "avx2": ["throughput.py", "--avx2"],
    "folders": ["folders.py", "tiles.tar", "signs.tar"],
}
"""How to measure what has no script of its own."""

COMPLETE = {"throughput": ["--peers"]}
"""What is measured in addition, if there is time."""


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choose_from(parser, "benchmarks", [*SECTIONS, *FOLDER_FIGURES])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="where to store the results; by default benchmarks/results, or with --quick "
        "benchmarks/quick",
    )
    parser.add_argument("--against", type=existing, metavar="FOLDER", help="earlier results")
    options = parser.parse_args()
    stop_in_one_line("what had been measured is stored")
    if options.results is None:
        options.results = HERE / "quick" if options.quick else RESULTS
    failed = []
    for name in options.benchmarks:
        print(f"--- {name}", flush=True)
        script, *arguments = COMMANDS.get(name, [f"{name}.py"])
        command = [sys.executable, str(HERE / script), *arguments]
        command += ["--out", str(options.results / f"{name}.json")]
        command += ["--quick"] if options.quick else COMPLETE.get(name, [])
        earlier = None if options.against is None else options.against / f"{name}.json"
        if earlier is not None and earlier.exists():
            command += ["--against", str(earlier)]
        elif earlier is not None:
            print(f"there is no {earlier} to compare with", flush=True)
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if options.results == RESULTS:
        if subprocess.run([sys.executable, str(HERE / "page.py")], check=False).returncode:
            failed.append("page")
    else:
        print(f"for a page of them: python benchmarks/page.py --results {options.results} --out .")
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
