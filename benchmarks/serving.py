"""The server under load: requests per second, latencies, errors, and memory over minutes.

    python benchmarks/serving.py                   # five minutes under load, and shorter runs
    python benchmarks/serving.py --minutes 0.5

`tenfold serve` runs as a process of its own, with a LeNet for MNIST. wrk, on the same cores, sends
single test images of 28x28 pixels as PNG files over kept-alive connections, each as soon as the
last answer is there. Latencies are as wrk measures them. Weights are random, which takes as long as
others. Before that, all 10,000 test images are asked for, and the answers compared with those of
`Classifier.top`. Debian has wrk in the package of that name.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests
from measuring import TENFOLD, Figure, Result, at_least_one, begin, finish, parsed, parser
from PIL import Image
from prediction import bundle_of

from tenfold.data import ImageDataset, load_splits
from tenfold.deployment import Classifier, write_bundle

CONNECTIONS = (1, 8, 32)
"""Numbers of connections that are measured shortly; the last one also for minutes."""

IMAGES = 100
"""Different images that are sent, in turn."""

WARM_UP = 2.0
"""Seconds under load before anything is measured."""

SCRIPT = """
local bodies, n = {}, 0
for i = 0, IMAGES - 1 do
  local file = io.open("FOLDER/" .. i .. ".png", "rb")
  bodies[i + 1] = file:read("*a")
  file:close()
end
function request()
  n = n % #bodies + 1
  return wrk.format("POST", "/predict", {["Content-Type"] = "image/png"}, bodies[n])
end
function done(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests": %d, "microseconds": %d, "errors": %d, "p50": %d, "p99": %d, "p999": %d, ' ..
    '"max": %d}', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50),
    latency:percentile(99), latency:percentile(99.9), latency.max))
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk measured.

    Attributes:
        requests: that were answered.
        seconds: that it took.
        errors: of connections, and answers that are no success.
        p50: median latency in milliseconds.
        p99: the 99th percentile.
        p999: the 99.9th.
        longest: the longest.
    """

    requests: int
    seconds: float
    errors: int
    p50: float
    p99: float
    p999: float
    longest: float


def load(address: str, script: Path, connections: int, seconds: float) -> Load:
    """Send requests for some time."""
    length = f"{max(1, round(seconds))}s"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{length}", "-s", str(script), address]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(answer.stderr)
    times = [found[key] / 1000 for key in ("p50", "p99", "p999", "max")]
    return Load(found["requests"], found["microseconds"] / 1e6, found["errors"], *times)


@contextmanager
def server(model: Path) -> Iterator[tuple[str, int]]:
    """The address and process of a server.

    Raises:
        SystemExit: it did not end well.
    """
    command = [*TENFOLD, "serve", str(model), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"], process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    if process.returncode:
        sys.exit(f"the server ended with {process.returncode}")


def encoded(pixels: np.ndarray) -> bytes:
    """A gray image as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def require_right_answers(address: str, classifier: Classifier, test: ImageDataset) -> None:
    """Ask for every test image.

    Raises:
        SystemExit: an answer is not that of the classifier.
    """
    expected = classifier.top(test)
    with requests.Session() as session:
        for image, guesses in zip(test.image_array, expected, strict=True):
            answer = session.post(
                f"{address}predict", encoded(image[0]), headers={"Content-Type": "image/png"}
            )
            if answer.json()["predictions"][0]["top"] != [guess.to_dict() for guess in guesses]:
                sys.exit(f"wrong answer: {answer.text}")


@contextmanager
def memory_of(process: int, every: float = 1.0) -> Iterator[list[tuple[float, float]]]:
    """Pairs of seconds and resident MiB of a process, which are noted while the block runs."""
    samples: list[tuple[float, float]] = []
    is_over = threading.Event()
    page = os.sysconf("SC_PAGE_SIZE")

    def watch() -> None:
        began = time.monotonic()
        while not is_over.wait(every):
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            samples.append((time.monotonic() - began, pages * page / 2**20))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


def measure_memory(
    result: Result,
    address: str,
    process: int,
    run: Callable[[str, int, float], Load],
    minutes: float,
) -> None:
    """Minutes under load, with the memory of the server."""
    with memory_of(process) as samples:
        found = run(address, CONNECTIONS[-1], 60 * minutes)
    seconds, sizes = (list(column) for column in zip(*samples, strict=True))
    slope, _ = np.polyfit(seconds, sizes, 1)
    result.figures.append(Figure("under load", "memory", "MiB", [round(size, 2) for size in sizes]))
    result.facts["minutes"] = {
        "minutes": found.seconds / 60,
        "requests": found.requests,
        "errors": found.errors,
        "p99": found.p99,
        "p999": found.p999,
        "longest": found.longest,
        "first_mib": sizes[0],
        "last_mib": sizes[-1],
        "slope_mib_per_minute": 60 * float(slope),
    }
    print(f"memory: {result.facts['minutes']}", file=sys.stderr, flush=True)


def measure(result: Result, folder: Path, rounds: int, seconds: float, minutes: float) -> None:
    """Everything, with a server of its own."""
    test = load_splits("mnist").splits.test
    assert test is not None
    bundle = bundle_of("lenet-mnist", test)
    write_bundle(folder / "model.safetensors", bundle)
    for n, image in enumerate(test.image_array[:IMAGES]):
        (folder / f"{n}.png").write_bytes(encoded(image[0]))
    script = folder / "post.lua"
    script.write_text(SCRIPT.replace("IMAGES", str(IMAGES)).replace("FOLDER", str(folder)))

    def run(address: str, connections: int, seconds: float) -> Load:
        return load(address, script, connections, seconds)

    with server(folder / "model.safetensors") as (address, process):
        require_right_answers(address, Classifier(bundle), test)
        run(address, CONNECTIONS[-1], WARM_UP)
        found: dict[int, list[Load]] = {connections: [] for connections in CONNECTIONS}
        for _ in range(rounds):
            for connections in CONNECTIONS:
                found[connections].append(run(address, connections, seconds))
        for connections, loads in found.items():
            of = f"{connections} connection{'s' if connections > 1 else ''}"
            print(f"{of}: {loads}", file=sys.stderr, flush=True)
            result.facts.setdefault("errors", {})
            errors = result.facts["errors"]
            assert isinstance(errors, dict)
            errors[of] = sum(each.errors for each in loads)
            for way, samples in {
                "per request": [1000 * each.seconds / each.requests for each in loads],
                "median": [each.p50 for each in loads],
                "99th percentile": [each.p99 for each in loads],
            }.items():
                result.figures.append(Figure(of, way, "ms", samples))
        measure_memory(result, address, process, run, minutes)


def main() -> None:
    """See the module."""
    made = parser(__doc__)
    made.add_argument("--seconds", type=at_least_one, help="of each short run; by default 10")
    made.add_argument("--minutes", type=float, help="of the long run; by default 5")
    options = parsed(made)
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; Debian has it in the package wrk")
    if options.seconds is None:
        options.seconds = 3 if options.quick else 10
    if options.minutes is None:
        options.minutes = 0.25 if options.quick else 5.0
    result = begin("serving", options)
    result.facts["load"] = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        measure(result, Path(folder), options.rounds, options.seconds, options.minutes)
    finish(result, options)


if __name__ == "__main__":
    main()
