"""The server's OpenAPI document, and docs/serving.md: what they say is so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from schemathesis_server import TOKEN, ask

from live_server import Live, encoded, served, small_classifier
from tenfold.deployment.serving.collecting import Collection
from tenfold.deployment.serving.guarding import Access
from tenfold.deployment.serving.limits import Limits

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
COMMANDS = re.findall(r"^\$ (curl (?:.*\\\n)*.*)$", PAGE.read_text("utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the files that the page names."""
    path = tmp_path_factory.mktemp("curl")
    generator = np.random.default_rng(0)
    for name in ("3.png", "other.png"):
        (path / name).write_bytes(encoded(generator.integers(0, 256, (1, 9, 8), dtype=np.uint8)))
    pixels = generator.integers(0, 256, (8, 8)).tolist()
    (path / "pixels.json").write_text(json.dumps({"pixels": pixels}))
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
    limits = Limits()
    for value in (
        f"{limits.body_bytes // 2**20} MiB",
        f"{limits.bodies_bytes // 2**20} MiB",
        f"{limits.head_bytes // 2**10} KiB",
        f"{limits.images} images",
        f"{limits.queue:,} images",
        f"{limits.connections} connections",
        f"{limits.receive_seconds:.0f} seconds",
        f"{limits.answer_seconds:.0f} seconds",
        f"{limits.idle_seconds:.0f} seconds",
        f"{limits.stop_seconds:.0f} seconds",
        f"{limits.collected:,} pictures",
        f"{limits.collected_bytes // 2**30} GiB",
        f"{limits.collected_side:,} pixels",
        f"{limits.top:,} classes",
        f"{limits.explanations} explanations",
    ):
        assert value in text, value
