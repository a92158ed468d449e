"""Shared by the tests of runs: the harness's full record of a run's results."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "soak"))
