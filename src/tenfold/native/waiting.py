"""How long the idle threads of OpenMP, which PyTorch computes with, wait before they sleep."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SPIN_COUNT, SPIN_COUNT_IN_A_CROWD = "4000", "100"
"""How many times an idle thread of GNU's OpenMP checks for work before it sleeps.

PyTorch has this OpenMP on Linux. By default a thread checks 300,000 times, which takes longer than
the time slice of a process that waits for the core meanwhile. The fewer the checks, the shorter a
step next to busy processes, and the longer a step on an idle machine, because a thread that sleeps
has to be woken. For LeNet on two idle cores with 1,000, 2,000, 3,000 and 4,000 checks: 7.3, 5.8,
5.5 and 5.3 ms. So there are few checks only in a crowd: next to sixteen busy processes, a step took
193 ms with 4,000 checks, 182 with 1,000, and 138 and 108 in two runs with 100.
`GOMP_SPINCOUNT=N python benchmarks/contention.py` measures it.
"""

MANY_SPINS = 100_000
"""So many checks, or more, do not limit the waiting in effect."""

CROWD = 2
"""The machine is crowded if more other threads than this per core are running or waiting.

On Linux, the fourth field of /proc/loadavg counts them, on all cores. It is read once, as a command
starts: a run keeps its spin count if the machine becomes crowded later, or is no longer crowded.
"""


def let_threads_wait_briefly() -> None:
    """Set how long idle threads wait, if the environment does not say.

    OpenMP reads it as it is loaded, so this has an effect only before PyTorch is imported.
    """
    if "torch" not in sys.modules and not is_set():
        os.environ["GOMP_SPINCOUNT"] = spin_count()


def is_set() -> bool:
    """Whether the environment says how long idle threads wait."""
    return bool(os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"})


def is_limited() -> bool:
    """Whether the environment limits how long idle threads wait."""
    passive = os.environ.get("OMP_WAIT_POLICY", "").strip().lower() == "passive"
    # PyTorch has GNU's OpenMP on Linux only.
    spins = os.environ.get("GOMP_SPINCOUNT", "").strip() if sys.platform == "linux" else ""
    return passive or (spins.isdecimal() and len(spins) < 10 and int(spins) < MANY_SPINS)


def spin_count(load: Path = Path("/proc/loadavg")) -> str:
    """The spin count that suits the machine's current load.

    Args:
        load: the file that says it; without it, the machine is taken to be idle.
    """
    try:
        others = int(load.read_text().split()[3].partition("/")[0]) - 1
    except (OSError, IndexError, ValueError):
        return SPIN_COUNT
    return SPIN_COUNT_IN_A_CROWD if others > CROWD * (os.cpu_count() or 1) else SPIN_COUNT
