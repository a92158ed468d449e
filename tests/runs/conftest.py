"""What the tests of runs share: the harness's way to say all that a run ended with."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "soak"))
