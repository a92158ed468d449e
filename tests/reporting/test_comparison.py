"""A comparison as text and as a page: what is said, and that the page needs nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from tenfold.evaluation.comparing import Paired, Welch
from tenfold.reporting.comparison.page import comparison_page
from tenfold.reporting.comparison.text import WIDTH, comparison_text
from tenfold.reporting.comparison.words import (
    contrast_sentences,
    data_sentences,
    described,
    shown,
    together,
)
from tenfold.reporting.pages.charts import (
    STYLES,
    Line,
    Spread,
    line_chart,
    sample,
    spread_chart,
)
from tenfold.runs.comparing import Comparison, Contrast, compare_runs


@pytest.fixture(scope="module")
def runs(compared: Path) -> Comparison:
    return compare_runs([compared / "single", compared / "wide"])


@pytest.fixture(scope="module")
def groups(compared: Path) -> Comparison:
    return compare_runs([compared / "slow", compared / "fast", compared / "wide"])


# --- words ------------------------------------------------------------------------------------


def test_values_in_cells() -> None:
    values = [None, "", True, 12345, 0.1, [32, 64], (), "sgd", "a\nb"]
    assert list(map(shown, values)) == (
        ["-", "-", "true", "12,345", "0.1", "32, 64", "", "sgd", "a\\nb"]
    )
    assert [together(names) for names in ([], ["A"], ["A", "B"], ["A", "B", "C"])] == (
        ["", "A", "A and B", "A, B and C"]
    )


def sentences(runs: Comparison, *tests: Contrast) -> list[str]:
    return contrast_sentences(replace(runs, tests=tests))


def test_mcnemars_test_in_words(runs: Comparison) -> None:
    found = Paired(1000, 9, 23, 0.014, (0.003, 0.025), 0.0201)
    (said,) = sentences(runs, Contrast("A", "B", found, corrected=0.0201))
    assert said == (
        "A is right on 9 images where B is wrong, B on 23 where A is wrong, of the same 1,000: "
        "p = 0.02, more than chance explains. The test accuracy of B minus that of A is +0.0140 "
        "(95 % interval +0.0030 to +0.0250)."
    )


def test_several_tests_in_words(runs: Comparison) -> None:
    one = Paired(50, 1, 0, -0.02, (-0.06, 0.03), 1.0)
    two = Welch(0.01, (0.002, 0.018), 5.4, 0.00004)
    said = sentences(
        runs,
        Contrast("A", "B", one, corrected=1.0),
        Contrast("A", "C", two, corrected=0.00008),
        Contrast("A", "D", why_not="D has no test images"),
    )
    assert said[0].startswith("A is right on 1 image where B is wrong, B on 0 where A is wrong")
    assert "p = 1.00 (p = 1.00 after correction for 2 tests), which chance may explain." in said[0]
    assert said[1].startswith(
        "The means of A and C over their seeds, with 5.4 degrees of freedom: p < 0.0001 (p < 0.0001"
    )
    assert said[2] == "A and D are not tested: D has no test images."


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.0504, "p = 0.0504, which chance may explain"),
        (0.0496, "p = 0.0496, more than chance explains"),
        (0.04999, "p = 0.04999, more than chance explains"),
        (0.05, "p = 0.05, more than chance explains"),
        (0.0494, "p = 0.049, more than chance explains"),
    ],
)
def test_a_p_value_is_not_rounded_onto_the_limit(runs: Comparison, p: float, said: str) -> None:
    found = Paired(1000, 9, 23, 0.014, (0.003, 0.025), p)
    assert f": {said}. " in sentences(runs, Contrast("A", "B", found, corrected=p))[0]


def test_images_that_only_one_has_in_words(runs: Comparison) -> None:
    data = {"train": [["A"], ["B"]], "val": [["A"]], "test": [["A", "B"]]}
    assert data_sentences(replace(runs, data=data)) == [
        "Of the training images and labels, A and B have different ones.",
        "Only A has any validation images and labels.",
        "A and B have the same test images and labels.",
    ]


def test_a_group_of_which_one_run_has_ended_in_words(groups: Comparison) -> None:
    first, *others = groups.candidates[0].runs
    begun = [replace(run, facts=run.facts.updated(figures=None, test=None)) for run in others]
    said = described(replace(groups.candidates[0], runs=(first, *begun)))
    assert said.endswith(", 3 runs with the seeds 0 to 2, of which 1 run has figures")


# --- text -------------------------------------------------------------------------------------


def test_the_text_of_two_runs(runs: Comparison, compared: Path) -> None:
    text = comparison_text(runs)
    lines = text.splitlines()
    assert lines[:2] == [f"A  {compared / 'single'}", f"B  {compared / 'wide'}"]
    headings, first, second = (line.split() for line in lines[3:6])
    assert headings == [
        "val_acc",
        "test_acc",
        "95",
        "%",
        "interval",
        "n",
        "epochs",
        "seconds",
        "parameters",
    ]
    accuracy = runs.candidates[0].figures["test_acc"]
    assert (first[0], second[0], first[2]) == ("A", "B", f"{accuracy:.4f}")
    assert re.search(r"^model +softmax +mlp$", text, re.MULTILINE)
    assert "A and B have the same training, validation and test images and labels." in text
    assert "The exact McNemar test: p is the probability" in text
    assert "Welch" not in text
    assert "Holm" not in text
    assert max(map(len, lines[3:])) <= WIDTH


def test_the_text_of_groups(groups: Comparison, compared: Path) -> None:
    text = comparison_text(groups)
    assert f"A  {compared / 'slow'}, 3 runs with the seeds 0 to 2\n" in text
    assert "deviation" in text
    assert "A and B have different ones" not in text
    assert "The training and validation images and labels are divided by the seed." in text
    assert "A, B and C have the same test images and labels." in text
    assert "Welch's t test: p is the probability" in text
    assert "A and C are not tested: C is a single run" in " ".join(text.split())


def test_differences_that_are_too_wide_get_a_line_for_each_value(runs: Comparison) -> None:
    wide = replace(
        runs,
        candidates=tuple(replace(runs.candidates[0], name=name) for name in "ABCD"),
        recipes={"data": dict(zip("ABCD", ["x" * 30, "y" * 30, "x" * 30, "z"], strict=True))},
        tests=(),
    )
    assert f"data\n  A, C: {'x' * 30}\n  B: {'y' * 30}\n  D: z\n" in comparison_text(wide)


# --- charts -----------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def parsed(chart: str) -> ET.Element:
    return ET.fromstring(str(chart).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def texts(chart: str, kind: str) -> list[tuple[float, float, str]]:
    return [
        (float(each.attrib["x"]), float(each.attrib["y"]), each.text or "")
        for each in parsed(chart).iter(f"{SVG}text")
        if kind in each.attrib["class"].split()
    ]


def drawn(*lines: Line) -> str:
    named = {"title": "Loss <now>", "x_label": "epochs", "y_label": "nats", "name": "loss"}
    return line_chart(lines, **named, among=lines)


def test_points_are_where_the_axes_say() -> None:
    chart = drawn(Line("A", 0, [(1.0, 0.0), (3.0, 1.0), (5.0, 0.25)]))
    x_ticks = {text: x for x, y, text in texts(chart, "tick") if y > 250}
    y_ticks = {text: y - 4 for x, y, text in texts(chart, "tick") if y <= 260 and x < 58}
    (path,) = (e for e in parsed(chart).iter(f"{SVG}path") if "line" in e.attrib["class"])
    found = [tuple(map(float, pair.split())) for pair in path.attrib["d"][1:].split("L")]
    assert found[1] == pytest.approx((x_ticks["3"], y_ticks["1.0"]), abs=0.11)
    assert found[0][1] == pytest.approx(y_ticks["0.0"], abs=0.11)
    assert found[2] == pytest.approx(
        (x_ticks["5"], y_ticks["0.0"] + (y_ticks["1.0"] - y_ticks["0.0"]) / 4), abs=0.11
    )


def test_a_chart_says_what_it_shows() -> None:
    chart = drawn(Line("A", 0, [(1.0, 2.0), (2.0, 1.25)]), Line("B", 1, [(1.0, 0.5)]))
    svg = parsed(chart)
    title, description = svg.find(f"{SVG}title"), svg.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert svg.attrib["role"] == "img"
    assert svg.attrib["aria-labelledby"].split() == [title.attrib["id"], description.attrib["id"]]
    assert title.text == "Loss <now>"
    assert description.text == (
        "nats by epochs. A ends at 1.2500 after 2; B ends at 0.5000 after 1."
    )


@pytest.mark.parametrize("n", [2, 5, 14])
def test_names_at_the_ends_are_not_over_one_another(n: int) -> None:
    lines = [Line(chr(65 + i), i, [(1.0, 0.5), (2.0, 0.5 + i / 1000)]) for i in range(n)]
    ends = sorted(y for _, y, _ in texts(drawn(*lines), "name"))
    assert len(ends) == n
    assert min(b - a for a, b in pairwise(ends)) >= 14
    assert ends[0] > 40
    assert ends[-1] < 285


def test_lines_can_be_told_apart_without_colors() -> None:
    styles = {re.sub(r'class="[^"]*"', "", sample(style)) for style in range(2 * STYLES)}
    assert len(styles) == 2 * STYLES


def test_constant_values_and_single_epochs_can_be_drawn() -> None:
    for values in ([0.0], [0.5, 0.5], [-3.0, -3.0]):
        chart = drawn(Line("A", 0, [(1.0 + i, v) for i, v in enumerate(values)]))
        assert "nan" not in chart
        assert len(texts(chart, "tick")) >= 3


def test_values_that_hardly_differ_have_ticks_of_their_own() -> None:
    """The loss of a model that does not learn, for example."""
    chart = drawn(Line("A", 0, [(1.0, 2.302585), (2.0, 2.302588)]))
    ticks = [text for _, _, text in texts(chart, "tick")]
    assert len(ticks) == len(set(ticks))


def test_tiny_values_have_short_ticks() -> None:
    """Such as the learning rate at the end of a schedule of one epoch."""
    chart = drawn(Line("A", 0, [(1.0, 0.0), (2.0, 8.4e-10)]))
    assert {"2e-10", "4e-10"} <= {text for _, _, text in texts(chart, "tick")}


def test_intervals_are_around_their_middles() -> None:
    rows = [Spread("A", 0, 0.9, (0.85, 0.93)), Spread("B", 1, 0.95, (0.94, 0.96), [0.945, 0.955])]
    chart = spread_chart(rows, title="t", x_label="share", name="n")
    ticks = {text: x for x, _, text in texts(chart, "tick")}
    (first, _) = (e for e in parsed(chart).iter(f"{SVG}path") if "line" in e.attrib["class"])
    low, high = map(float, re.findall(r"M([\d.]+) .*H([\d.]+)", first.attrib["d"])[0])
    assert low == pytest.approx(ticks["0.85"], abs=0.2)
    assert high == pytest.approx(0.4 * ticks["0.90"] + 0.6 * ticks["0.95"], abs=0.2)
    assert len(list(parsed(chart).iter(f"{SVG}circle"))) == 2


# --- page -------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """All elements, and whether they are closed in the right order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def __iter__(self) -> Iterator[tuple[str, dict[str, str | None]]]:
        return iter(self.found)


def test_the_page_has_everything_in_it(groups: Comparison) -> None:
    page = comparison_page(groups)
    elements = Elements(page)
    assert elements.open == []
    assert not {tag for tag, _ in elements} & {"script", "link", "img", "iframe", "object"}
    assert not [a for _, attrs in elements for a in attrs if a in ("src", "href", "style")]
    assert "url(" not in page
    assert "default-src 'none'" in page
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids)) == 10  # title and description of each chart
    assert sum(tag == "h1" for tag, _ in elements) == 1
    for tag, attrs in elements:
        assert tag != "th" or attrs["scope"] in ("row", "col")
    assert page.count('role="img"') == 5


def test_the_page_draws_every_run(groups: Comparison) -> None:
    page = comparison_page(groups)
    chart = page[page.index('aria-labelledby="val-acc-title') :]
    chart = chart[: chart.index("</svg>")]
    for style, each in enumerate(groups.candidates):
        assert chart.count(f'class="line c{style}"') == len(each.runs)


def test_names_from_outside_stay_text(runs: Comparison) -> None:
    evil = "<script>alert(1)</script>"
    first = replace(runs.candidates[0], place=evil)
    page = comparison_page(
        replace(
            runs,
            candidates=(first, *runs.candidates[1:]),
            recipes={evil: {"A": evil, "B": None}},
            notes=(evil,),
        )
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 4


def test_a_run_without_figures_has_a_page_too(runs: Comparison) -> None:
    bare = runs.candidates[0].runs[0]
    facts = bare.facts.updated(figures=None, test=None)
    first = replace(runs.candidates[0], runs=(replace(bare, facts=facts, history=()),))
    alone = replace(runs, candidates=(first,), tests=(), recipes={})
    assert comparison_page(alone).count("<svg") == 1  # in the legend
    assert comparison_text(alone).splitlines()[2:] == [
        "   epochs  parameters",
        "A       0         650",
    ]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_shows_it_without_scrolling_sideways(groups: Comparison, tmp_path: Path) -> None:
    """In a frame as wide as a phone; a wide table scrolls in its own box."""
    (tmp_path / "page.html").write_text(comparison_page(groups))
    (tmp_path / "frame.html").write_text(
        '<iframe src="page.html" style="width:390px;height:800px;border:0"></iframe><p></p><script>'
        "onload = () => { const e = frames[0].document.documentElement;"
        "document.querySelector('p').textContent ="
        "`${e.scrollWidth} of ${e.clientWidth}, ${frames[0].document.querySelectorAll('svg.chart')"
        ".length} charts`; }</script>"
    )
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--virtual-time-budget=2000", "--dump-dom", (tmp_path / "frame.html").as_uri()),
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "<p>390 of 390, 5 charts</p>" in answer.stdout
