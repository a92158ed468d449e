"""The server's OpenAPI document, and docs/serving.md: what they say is so."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from schemathesis_server import TOKEN, ask

from live_server import Live, encoded, served, small_classifier
from tenfold.data.folders.pillow import LARGEST_PIXELS
from tenfold.deployment.serving.collecting import Collection
from tenfold.deployment.serving.guarding import Access
from tenfold.deployment.serving.limits import Limits

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
COMMANDS = re.findall(r"^\$ (curl (?:.*\\\n)*.*)$", PAGE.read_text("utf-8"), re.MULTILINE)

(PIXELS,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the files that the page names."""
    path = tmp_path_factory.mktemp("curl")
    generator = np.random.default_rng(0)
    for name in ("3.png", "other.png"):
        (path / name).write_bytes(encoded(generator.integers(0, 256, (1, 9, 8), dtype=np.uint8)))
    with contextlib.chdir(path):
        exec(PIXELS.replace("(28, 28)", "(8, 8)"), {})
    return path


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Live]:
    classifier = small_classifier(classes=[str(digit) for digit in range(10)])
    collection = Collection(folder / "collected", classifier.bundle.header, Limits())
    with served(classifier, collection=collection, access=Access(TOKEN)) as running:
        yield running


def test_every_answer_is_as_the_document_says() -> None:
    outcome = ask(5, token=TOKEN)
    assert not outcome.failed, outcome.text
    assert outcome.cases > 250


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) > 8


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_work(command: str, live: Live, folder: Path) -> None:
    saved = next((folder / "collected" / "3").glob("*.png"), Path("3.png")).name
    line = command.replace("http://127.0.0.1:8000", live.url).replace("NAME.png", saved)
    answer = subprocess.run(
        ["/bin/sh", "-c", f"{line} --silent --show-error --fail-with-body"],
        cwd=folder,
        env={"TENFOLD_TOKEN": TOKEN, "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stdout


@pytest.mark.parametrize("token", ["", TOKEN])
def test_what_needs_a_token_says_so(token: str) -> None:
    with served(access=Access(token)) as live:
        document = live.get("/openapi.json", headers={"Authorization": f"Bearer {token}"}).json()
    needs = {path for path, ways in document["paths"].items() if "security" in str(ways)}
    assert needs == ({"/model", "/metrics", "/predict"} if token else set())
    assert ("403" in document["paths"]["/predict"]["post"]["responses"]) == (not token)
    assert "/collect" not in document["paths"]


def test_the_page_names_all_limits() -> None:
    """With their values."""
    text = PAGE.read_text("utf-8")
    part = text.partition("## Limits")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (.*?) \| (.*) \|$", part, re.MULTILINE))
    limits = Limits()
    expected = {
        "body of a request": f"{limits.body_bytes // 2**20} MiB, in JSON 64 KiB and 32 bytes",
        "all bodies together": f"{limits.bodies_bytes // 2**20} MiB",
        "head of a request": f"{limits.head_bytes // 2**10} KiB",
        "images of a request": f"{limits.images} images",
        "pixels of an image": f"{LARGEST_PIXELS // 10**6} million",
        "pixels of all images of a request": f"{limits.pixels // 10**6} million",
        "waiting to be decoded": f"{limits.decodings} requests",
        "waiting to be computed": f"{limits.queue:,} images",
        "explanations running or waiting": f"{limits.explanations}",
        "time to wait": f"{limits.answer_seconds:.0f} seconds",
        "open at the same time": f"{limits.connections} connections",
        "time to send a head": f"{limits.head_seconds:.0f} seconds",
        "time to send a request": f"{limits.receive_seconds:.0f} seconds",
        "time to take an answer": f"{limits.answer_seconds:.0f} seconds",
        "time without a request": f"{limits.idle_seconds:.0f} seconds",
        "time to end, once the server stops": f"{limits.stop_seconds:.0f} seconds",
    }
    assert rows.keys() - {"---"} == expected.keys()
    for name, value in expected.items():
        assert rows[name].startswith(value), name
    for value in (
        f" {limits.collected:,} pictures,",
        f" {limits.collected_bytes // 2**30} GiB.",
        f" {limits.collected_side:,} pixels.",
        f" {limits.top:,} classes ",
    ):
        assert value in text, value


def numbers(text: str) -> list[int]:
    """Every whole number in a text in English or Chinese, by size."""
    units = {"": 1, "million": 10**6, "万": 10**4, "亿": 10**8}
    found = re.findall(r"(\d[\d,]*)(?: (million|万|亿))?", text)
    return sorted(int(number.replace(",", "")) * units[unit] for number, unit in found)


def test_the_chinese_page_names_the_same_limits() -> None:
    """In the same order, and those outside of the table too."""
    pages = [PAGE.read_text("utf-8"), PAGE.with_suffix(".zh.md").read_text("utf-8")]
    named = []
    for page in pages:
        (part,) = re.findall(r"^## (?:Limits|限制)\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
        (collected,) = re.findall(r"^.*2 GiB.*$", page, re.MULTILINE)
        (top,) = re.findall(r"^\| `top` .*$", page, re.MULTILINE)
        rows = re.findall(r"^\| .*\|$", part, re.MULTILINE)
        named.append([numbers(line) for line in [*rows, collected, top]])
    assert len(named[0]) > 15
    assert named[1] == named[0]


def test_the_document_names_the_limit_of_bodies(live: Live) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    document = live.get("/openapi.json", headers=headers).json()
    body = document["paths"]["/predict"]["post"]["requestBody"]
    assert body["description"] == "At most 16,777,216 bytes, and 196,608 of JSON."
    assert "304" in document["paths"]["/"]["get"]["responses"]
