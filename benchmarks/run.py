"""Run the benchmarks, store their results, and make the page of them.

    python benchmarks/run.py                       # everything, about an hour
    python benchmarks/run.py --quick               # shorter, a few minutes
    python benchmarks/run.py throughput startup    # only some

Results are stored in benchmarks/results, where `benchmarks/page.py` finds them. With `--against
FOLDER`, each result is compared with an earlier one, and the exit code is 1 if something became
slower beyond the spread of both. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from measuring import RESULTS
from page import SECTIONS

HERE = Path(__file__).parent


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=[*SECTIONS], metavar="BENCHMARK")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="earlier results")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in SECTIONS]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    failed = []
    for name in options.names:
        print(f"--- {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py")]
        command += ["--out", str(options.results / f"{name}.json")]
        command += ["--quick"] if options.quick else []
        if options.against is not None and (options.against / f"{name}.json").exists():
            command += ["--against", str(options.against / f"{name}.json")]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if options.results == RESULTS:
        subprocess.run([sys.executable, str(HERE / "page.py")], check=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
