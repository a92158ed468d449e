"""Reports, comparisons and checks as a browser shows them, on a phone and a screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import tenfold
from tenfold.data.dataset import ImageDataset
from tenfold.reporting.comparison.page import write_page
from visitor import Visitor, visiting

LONG_NAMES = ("Electric guitar", "Bass", "Donaudampfschifffahrt", "clavichord-with-pedals", "drum")


@pytest.fixture(scope="module")
def browser() -> Iterator[Visitor]:
    with visiting() as visitor:
        yield visitor


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    given = {"recipe": "digits-quick", "epochs": 2, "quiet": True}
    first = tenfold.train("digits", out=folder / "first", **given)
    second = tenfold.train("digits", out=folder / "second", seed=1, lr=0.01, **given)
    write_page(folder / "comparison.html", tenfold.compare(first, second))
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    images[1], images[2] = images[0], 7
    labels = np.arange(40) % 2
    tenfold.check(ImageDataset(images, labels, ("a", "b")), quick=True, out=folder / "check")
    return {
        "report": first.folder / "report.html",
        "comparison": folder / "comparison.html",
        "check": folder / "check" / "check.html",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["report", "comparison", "check"])
def test_nothing_is_cut_off_and_axe_finds_no_serious_fault(
    name: str, width: int, scheme: str, browser: Visitor, pages: dict[str, Path]
) -> None:
    browser.show(width=width, scheme=scheme)
    browser.driver.get(pages[name].as_uri())
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.faults() == []
    assert browser.complaints() == []  # no policy is violated


@pytest.fixture(scope="module")
def with_long_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on classes with long names, one of a single epoch and without validation images."""
    images = np.random.default_rng(0).integers(0, 256, (120, 1, 8, 8)).astype(np.uint8)
    data = ImageDataset(images, np.arange(120) % len(LONG_NAMES), LONG_NAMES)
    folder = tmp_path_factory.mktemp("long") / "run"
    return tenfold.train(
        data, model="softmax", epochs=1, val=0.0, out=folder, quiet=True
    ).folder.joinpath("report.html")


@pytest.mark.parametrize("width", [390, 1280])
def test_headings_of_a_confusion_matrix_stay_in_their_cells(
    width: int, browser: Visitor, with_long_names: Path
) -> None:
    browser.show(width=width, scheme="light")
    browser.driver.get(with_long_names.as_uri())
    outside = """return [...document.querySelectorAll('.confusion thead th')].map(cell => {
        const text = document.createRange();
        text.selectNodeContents(cell);
        const [inner, outer] = [text, cell].map(each => each.getBoundingClientRect());
        return Math.max(inner.right - outer.right, outer.left - inner.left);
    })"""
    found = browser.run(outside)
    assert len(found) == len(LONG_NAMES) + 1
    assert max(found) <= 0


def test_a_lone_chart_is_not_stretched(browser: Visitor, with_long_names: Path) -> None:
    browser.show(width=1280, scheme="light")
    browser.driver.get(with_long_names.as_uri())
    width = "document.querySelector('#calibration ~ .charts').firstElementChild.offsetWidth"
    assert browser.run(f"return {width} < 0.6 * document.body.offsetWidth")


def test_a_report_is_printed_without_its_navigation(
    browser: Visitor, pages: dict[str, Path]
) -> None:
    browser.show(width=1280, scheme="dark")
    browser.driver.get(pages["report"].as_uri())
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert not browser.one("nav").is_displayed()
    color = "return getComputedStyle(document.body).backgroundColor"
    assert browser.run(color) == "rgb(255, 255, 255)"
