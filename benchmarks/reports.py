"""The cost of reports: the seconds that a report adds to a run.

    python benchmarks/reports.py

Trains each recipe for one epoch on real data, which is looked for where TENFOLD_DATA says, and
times the writing of its report, the first time with the imports that it needs. A data set that is
not there is left out, and the result says so.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from measuring import Figure, begin, choose_from, finish, parsed, parser

from tenfold.errors import DataError
from tenfold.recipes import load_recipe
from tenfold.reporting.pages.report import write_report
from tenfold.runs import train_run
from tenfold.runs.evidence import Evidence
from tenfold.runs.resources import Resources
from tenfold.runs.run import Run

RECIPES = ("digits-quick", "lenet-mnist", "mlp-fashion")
FOLDERS = ("signs.tar", "tiles.tar", "cifar10-jpeg.tar.xz")
WAY = "report"


def measure(name: str, rounds: int) -> tuple[list[float], dict[str, object]]:
    """Seconds of each report, and facts about the run.

    Raises:
        DataError: the data is not there.
    """
    if name in FOLDERS:
        data = Path(os.environ.get("TENFOLD_DATA", ".")) / name
        recipe = load_recipe("default", {"epochs": 1, "data": str(data)})
    else:
        recipe = load_recipe(name, {"epochs": 1})
    found: list[float] = []

    def after(run: Run, evidence: Evidence) -> None:
        for _ in range(rounds):
            started = time.perf_counter()
            write_report(run, evidence)
            found.append(time.perf_counter() - started)

    with tempfile.TemporaryDirectory() as folder:
        run = train_run(
            recipe,
            out=Path(folder) / "run",
            resources=Resources(download=False),
            after=after,
        )
        sizes = {name: (run.folder / name).stat().st_size for name in NAMES}
    return found, {"n": dict(run.facts.data.n), "classes": len(run.facts.data.classes), **sizes}


NAMES = ("report.html", "report.json", "predictions.csv")


def main() -> None:
    """See the module."""
    made = parser(__doc__, rounds=5)
    choose_from(made, "recipes", [*RECIPES, *FOLDERS], usual=(*RECIPES, *FOLDERS))
    options = parsed(made)
    result = begin("reports", options)
    for name in options.recipes:
        try:
            samples, result.facts[name] = measure(name, options.rounds)
        except DataError as error:
            result.facts[name] = {"missing": error.message}
            continue
        result.figures.append(Figure(name, WAY, "s", samples))
    finish(result, options)


if __name__ == "__main__":
    main()
