"""Ask a server everything that its OpenAPI document allows, and much that it does not.

    python tests/soak/schemathesis_server.py                # 10,000 cases
    python tests/soak/schemathesis_server.py --cases 500 --token

A server with a small model runs in this process. Schemathesis makes requests of its document, valid
and invalid ones, and checks that every answer is as the document says, that invalid requests are
refused and valid ones are not, and that no answer is an unexpected error. The exit code is 0 if all
that holds, and if the server had nothing to report.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [path for path in (str(HERE.parent), str(HERE)) if path not in sys.path]

from live_server import served, small_classifier  # noqa: E402
from tenfold.deployment.serving.collecting import Collection  # noqa: E402
from tenfold.deployment.serving.guarding import Access  # noqa: E402
from tenfold.deployment.serving.limits import Limits  # noqa: E402

TOKEN = "a-token-for-tests"

_CASES = re.compile(r"Test cases:\s+([0-9,]+) generated")


@dataclass(frozen=True)
class Outcome:
    """What Schemathesis found.

    Attributes:
        cases: number of requests.
        failed: whether an answer was wrong, or the server reported an error.
        text: everything it said, and everything that the server reported.
    """

    cases: int
    failed: bool
    text: str


def ask(examples: int, *, token: str = "", seed: int = 0) -> Outcome:
    """Let Schemathesis ask a server.

    Args:
        examples: for each address with parameters; in addition, there are a few hundred requests at
            the edges of what the document allows.
        token: that the server wants; empty for none.
        seed: of the requests.
    """
    # The number of requests at the edges grows with the image.
    classifier = small_classifier((1, 3, 2))
    limits = Limits(images=4)
    with tempfile.TemporaryDirectory() as folder:
        collection = Collection(Path(folder), classifier.bundle.header, limits)
        access = Access(token)
        with served(classifier, collection=collection, access=access, limits=limits) as live:
            command = [
                *(sys.executable, "-c", "from schemathesis.cli import schemathesis as st; st()"),
                *("run", f"{live.url}/openapi.json", "--checks", "all", "--no-color"),
                *("--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure"),
                *(("--header", f"Authorization: Bearer {token}") if token else ()),
            ]
            answer = subprocess.run(
                command,
                cwd=folder,
                env=os.environ
                | {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)},
                capture_output=True,
                text=True,
            )
            told = list(live.told)
    found = _CASES.search(answer.stdout)
    return Outcome(
        cases=int(found[1].replace(",", "")) if found else 0,
        failed=answer.returncode != 0 or bool(told),
        text="\n".join([answer.stdout, answer.stderr, *told]),
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000, help="at least; by default 10,000")
    parser.add_argument("--token", action="store_true", help="the server wants a token")
    parser.add_argument("--seed", type=int, default=0, help="by default 0")
    options = parser.parse_args()
    done, seed = 0, options.seed
    while done < options.cases:
        outcome = ask(1000, token=TOKEN if options.token else "", seed=seed)
        done, seed = done + outcome.cases, seed + 1
        if outcome.failed or not outcome.cases:
            sys.exit(f"{outcome.text}\nfailed with seed {seed - 1}, after {done:,} cases")
        print(f"{done:,} cases, no failure", flush=True)


if __name__ == "__main__":
    main()
