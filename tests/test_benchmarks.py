"""What the benchmarks share, and that the stored results and the page made of them agree."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parent.parent
BENCHMARKS = PROJECT / "benchmarks"


@pytest.fixture
def measuring(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import measuring

    return measuring


Script = Callable[..., tuple[object, str, str]]


@pytest.fixture
def script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Script:
    """Runs a benchmark in this process, in a folder of its own."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.chdir(tmp_path)

    def run(name: str, *arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
        out, err = capsys.readouterr()
        code = stop.value.code
        return (1, out, code) if isinstance(code, str) else (code, out, err)

    return run


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.000123456, "0.000123"),
        (0.98765, "0.988"),
        (1.5, "1.50"),
        (99.96, "100.0"),
        (123.4, "123"),
        (12345.6, "12,346"),
        (-2.5, "-2.50"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_have_three_digits(measuring: ModuleType, value: float, text: str) -> None:
    assert measuring.number(value) == text


def result(measuring: ModuleType, samples: list[float], unit: str = "s") -> object:
    figure = measuring.Figure("lenet", "native", unit, samples)
    return measuring.Result("throughput", {"threads": 2}, [figure], {"floor": 1.0})


@pytest.mark.parametrize(
    ("after", "is_slower"),
    [
        ([1.0, 1.1, 1.2], False),  # the same
        ([1.3, 1.4, 1.5], True),
        ([1.19, 1.5, 1.6], False),  # the spreads overlap
        ([0.5, 0.6, 0.7], False),
        ([1.213, 1.214, 1.215], True),
    ],
)
def test_only_what_is_beyond_the_spread_of_both_is_slower(
    measuring: ModuleType, after: list[float], is_slower: bool
) -> None:
    before = result(measuring, [1.0, 1.1, 1.2])
    found = measuring.changes(before, result(measuring, after))
    assert bool(found) == is_slower
    if found:
        assert found[0].startswith("slower: lenet, native: was 1.10 (1.00 to 1.20), is ")


def test_what_is_not_measured_any_more_is_reported(measuring: ModuleType) -> None:
    before, after = result(measuring, [1.0]), result(measuring, [1.0])
    after.figures.clear()
    found = measuring.changes(before, after)
    assert found == ["missing: lenet, native: was 1.00 (1.00 to 1.00) s"]


def test_less_than_ten_percent_is_not_reported(measuring: ModuleType) -> None:
    before, after = ([1.0] * 3, [1.09] * 3)
    assert measuring.changes(result(measuring, before), result(measuring, after)) == []


@pytest.mark.parametrize(
    ("unit", "before", "after", "found"),
    [
        ("percentage points", 0.1, 0.9, ""),  # of differences, neither is better
        ("", 0.9, 0.985, ""),
        ("", 0.985, 0.98, ""),
        ("", 0.985, 0.97, "less: lenet, native: was 0.985 (0.985 to 0.985), is 0.970"),
        ("runs", 0, 1, "more: lenet, native: was 0 (0 to 0), is 1.00 (1.00 to 1.00) runs"),
        ("µs per image", 1, 2, "slower: lenet, native: was 1.00 (1.00 to 1.00), is 2.00"),
    ],
)
def test_what_is_worse_depends_on_the_unit(
    measuring: ModuleType, unit: str, before: float, after: float, found: str
) -> None:
    pair = (result(measuring, [value] * 3, unit) for value in (before, after))
    changes = measuring.changes(*pair)
    assert len(changes) == bool(found)
    assert not found or changes[0].startswith(found)


def test_only_what_was_measured_alike_is_compared(measuring: ModuleType) -> None:
    one, other = result(measuring, [1.0]), result(measuring, [1.0])
    one.settings["systems"], other.settings["systems"] = ["mlp", "lenet"], ["lenet", "mlp"]
    assert measuring.incomparable(one, other) == ""
    other.settings.update(threads=4, rounds=9)
    other.machine["processor"] = "another"
    assert measuring.incomparable(one, other).startswith("threads was 2, is 4, processor was ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "."], "argument --out: . cannot be written: Is a directory"),
        (["--against", "nothing"], "argument --against: nothing does not exist"),
        (["--against", "text"], "argument --against: text is not a benchmark's result"),
        (["--against", "table"], "argument --against: table is not a benchmark's result"),
        (["--rounds", "0"], "argument --rounds: '0' is not a whole number of at least 1"),
    ],
)
def test_wrong_options_are_refused_before_measuring(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("not JSON")
    (tmp_path / "table").write_text("{}")
    command = [sys.executable, BENCHMARKS / "startup.py", *arguments]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr.endswith(f"error: {message}\n")


def test_what_cannot_be_compared_is_not_measured(measuring: ModuleType, tmp_path: Path) -> None:
    earlier = result(measuring, [1.0])
    earlier.write(tmp_path / "earlier.json")
    options = argparse.Namespace(threads=4, against=tmp_path / "earlier.json")
    with pytest.raises(SystemExit, match=r"cannot be compared with this: threads was 2, is 4"):
        measuring.begin("throughput", options)


def test_a_result_is_compared_with_what_it_replaces(
    measuring: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "throughput.json"
    result(measuring, [1.0]).write(path)
    with pytest.raises(SystemExit):
        measuring.finish(result(measuring, [2.0]), argparse.Namespace(out=path, against=path))
    assert "slower: lenet, native" in capsys.readouterr().out


def test_a_result_is_read_as_it_was_written(measuring: ModuleType, tmp_path: Path) -> None:
    written = result(measuring, [1.0, 1.5])
    written.write(tmp_path / "new" / "throughput.json")
    assert measuring.Result.read(tmp_path / "new" / "throughput.json") == written


def test_turns_alternate_and_the_first_does_not_count(measuring: ModuleType) -> None:
    calls: list[str] = []
    ways = {name: lambda name=name: calls.append(name) or float(len(calls)) for name in "abcd"}
    samples = measuring.in_turns(ways, 40)
    rounds = [calls[start : start + 4] for start in range(0, len(calls), 4)]
    assert len(rounds) == 41
    assert all(sorted(each) == list("abcd") for each in rounds)
    assert all(
        taken == [4.0 * turn + each.index(name) + 1 for turn, each in enumerate(rounds) if turn]
        for name, taken in samples.items()
    )
    follow = Counter(pair for each in rounds for pair in pairwise(each))
    assert len(follow) == 12
    assert max(follow.values()) <= 20  # of 41; 10 on average


SCRIPTS = sorted(
    path.name
    for path in BENCHMARKS.glob("*.py")
    if path.name not in ("measuring.py", "peers.py", "folder_page.py")
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_benchmark_explains_itself(name: str, script: Script) -> None:
    code, out, err = script(name, "--help")
    assert (code, err) == (0, "")
    assert "usage:" in out


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("throughput.py nosuch", "there is no nosuch, choose from 'softmax-fashion', "),
        ("commands.py nosuch", "there is no nosuch, choose from "),
        ("run.py nosuch", "there is no nosuch, choose from 'throughput', "),
        ("run.py --against nosuch", "nosuch does not exist"),
        ("contention.py --recipe nosuch", "there is no nosuch, choose from "),
        ("startup.py --rounds 0", "'0' is not a whole number of at least 1"),
        ("startup.py --against nosuch.json", "nosuch.json does not exist"),
        ("page.py --results .", "there are no results in .; make some: python benchmarks/run.py"),
    ],
)
def test_a_wrong_argument_is_answered_in_one_line_before_anything_is_measured(
    command: str, said: str, script: Script
) -> None:
    code, _, err = script(*command.split())
    assert code
    assert said in err.splitlines()[-1]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_no_busy_process_outlives_its_benchmark() -> None:
    code = (
        "import time\nfrom contention import busy_processes\n"
        "with busy_processes(2): print(flush=True); time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 2
        parent.kill()
    while any(is_running(child) for child in children):
        time.sleep(0.05)


def is_running(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal here")
def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(
        "import time\nfrom measuring import *\nparsed(parser(None))\n"
        "print(flush=True)\ntime.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, tmp_path / "waits.py"],
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, err) == (-2, "waits.py: interrupted, nothing was stored\n")


def test_the_page_is_made_of_the_stored_results(tmp_path: Path) -> None:
    """Nobody has changed it by hand, or forgotten to make it again."""
    command = [sys.executable, BENCHMARKS / "page.py", "--out", tmp_path]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    assert answer.stderr == ""
    docs = PROJECT / "docs"
    assert (tmp_path / "performance.md").read_text() == (docs / "performance.md").read_text()
    plots = {path.name for path in (docs / "performance").iterdir()}
    assert {path.name for path in (tmp_path / "performance").iterdir()} == plots
    documents = {path.name for path in tmp_path.glob("*.md")}
    assert {"folders.md", "check.zh.md", "report.zh.md", "serving.md", "serving.zh.md"} < documents
    for name in documents:
        assert (tmp_path / name).read_text() == (docs / name).read_text()


@pytest.fixture
def folder_page(measuring: ModuleType) -> ModuleType:
    import folder_page

    return folder_page


def test_the_comparison_on_folders(measuring: ModuleType, folder_page: ModuleType) -> None:
    """Means, deviations, medians, and intervals of paired differences."""
    samples = {
        ("accuracy", "tenfold"): [0.9, 0.94, 0.92],
        ("accuracy", "cnn"): [0.8, 0.86, 0.8],
        ("balanced", "tenfold"): [0.5, 0.5, 0.5],
        ("balanced", "cnn"): [0.4, 0.4, 0.4],
        ("seconds", "tenfold"): [1.0, 2.0, 9.0],
        ("seconds", "cnn"): [3.0, 3.0, 3.0],
    }
    figures = [
        measuring.Figure(f"signs.tar, {of}", way, "", values)
        for (of, way), values in samples.items()
    ]
    machine = {"cores": 2, "processor": "some CPU", "python": "3.13", "torch": "2.13"}
    found = measuring.Result("folders", {}, figures, {}, machine, "2026-01-02", "abc")
    made = folder_page.comparison(found, "folders.md")
    assert "| hand signs | `tenfold train` | 0.920 ± 0.020 | 0.500 ± 0.000 | 2 s |" in made
    assert "| hand signs | plain PyTorch network | 0.820 ± 0.035 | 0.400 ± 0.000 | 3 s |" in made
    # Differences of 10, 8 and 12 points: their mean is 10, and 4.303 x 2 / sqrt(3) is 4.97.
    assert "paired differences: hand signs 10.0 (5.0 to 15.0)." in made
    assert made.endswith(
        "over 3 splits, medians of times. On 2 cores of the processor some CPU, Python 3.13, "
        "PyTorch 2.13, 2026-01-02, commit abc."
    )


@pytest.mark.parametrize(
    ("document", "row", "said"),
    [
        (
            "serving.md",
            "2,000 (1,000 to 2,500) | 4.0 ms (3.0 to 9.0) | 20.0 ms (10.0 to 30.0)",
            [
                "## How fast it is\n\n",
                "In 5.0 minutes with 32 connections, 700,000 requests were answered, with 1,001 ",
                "of the latency were 21.2 and 31.5 ms, the longest 41 ms.",
                "75.0 MiB after the first second and 76.5 MiB after the last, with a slope of +0",
                "of 3 runs of 10 seconds",
                "The machine's load was 0.5 before. On 2 cores of the processor some CPU",
            ],
        ),
        (
            "serving.zh.md",
            "2,000（1,000 到 2,500） | 4.0 ms（3.0 到 9.0） | 20.0 ms（10.0 到 30.0）",
            [
                "## 有多快\n\n",
                "用 32 个连接持续 5.0 分钟，回答了 700,000 个请求，有 1,001 个出错",
                "是 21.2 ms 和 31.5 ms，最长 41 ms。",
                "第一秒之后是 75.0 MiB，在最后一秒之后是 76.5 MiB，变化的斜率是每分钟 +0.25 MiB。",
                "每次 10 秒，是 3 次的中位数",
                "机器的负载是 0.5。测量环境：处理器 some CPU 的 2 个核",
            ],
        ),
    ],
)
def test_the_server_under_load(
    document: str, row: str, said: list[str], measuring: ModuleType, folder_page: ModuleType
) -> None:
    figures = [
        measuring.Figure(of, way, "ms", values)
        for of in ("1 connection", "32 connections")
        for way, values in (
            ("per request", [0.5, 1.0, 0.4]),
            ("median", [3.0, 4.0, 9.0]),
            ("99th percentile", [20.0, 10.0, 30.0]),
        )
    ]
    long = {
        "minutes": 5.0,
        "requests": 700_000,
        "errors": 1001,
        "p99": 21.25,
        "p999": 31.5,
        "longest": 41.4,
        "first_mib": 75.0,
        "last_mib": 76.5,
        "slope_mib_per_minute": 0.25,
    }
    facts = {"errors": {"1 connection": 0, "32 connections": 2}, "minutes": long, "load": 0.5}
    machine = {"cores": 2, "processor": "some CPU", "python": "3.13", "torch": "2.13"}
    settings = {"rounds": 3, "seconds": 10}
    found = measuring.Result("serving", settings, figures, facts, machine, "2026-01-02", "abc")
    made = folder_page.served(found, document)
    assert f"| 1 | {row} | 0 |" in made
    assert f"| 32 | {row} | 2 |" in made
    for words in said:
        assert words in made


@pytest.mark.parametrize(
    ("document", "row"),
    [
        ("report.md", "| hand signs | 2,062 | 10 | 0.30 s (0.20 to 0.90) | 0.25 MB |"),
        ("report.zh.md", "| 手势 | 2,062 | 10 | 0.30 s（0.20 到 0.90） | 0.25 MB |"),
    ],
)
def test_what_reports_cost(
    document: str, row: str, measuring: ModuleType, folder_page: ModuleType
) -> None:
    figures = [measuring.Figure("signs.tar", "report", "s", [0.9, 0.2, 0.3])]
    n = {"train": 1485, "val": 165, "test": 412}
    facts = {"signs.tar": {"n": n, "classes": 10, "report.html": 250_000}}
    machine = {"cores": 2, "processor": "some CPU", "python": "3.13", "torch": "2.13"}
    found = measuring.Result("reports", {}, figures, facts, machine, "2026-01-02", "abc")
    made = folder_page.reported(found, document)
    assert row in made
    assert "some CPU" in made


@pytest.mark.parametrize("document", ["starting.md", "starting.zh.md"])
def test_what_a_trained_network_is_worth(
    measuring: ModuleType, folder_page: ModuleType, document: str
) -> None:
    accuracies = {"new, small": [0.4, 0.5, 0.6], "all": [0.5, 0.62, 0.68], "hog": [0.3, 0.3, 0.3]}
    figures = [
        figure
        for way, values in accuracies.items()
        for figure in (
            measuring.Figure("5 a class", way, "", values),
            measuring.Figure("5 a class, time", way, "s", [1.0, 3.0, 8.0]),
        )
    ]
    machine = {"cores": 2, "processor": "some CPU", "python": "3.13", "torch": "2.13"}
    facts = {"start": {"accuracy": 0.8, "seconds": 150.2}}
    found = measuring.Result("transfer", {}, figures, facts, machine, "2026-01-02", "abc")
    made = folder_page.transfer(found, document)
    numbers = [float(number) for number in re.findall(r"\d+\.\d", made)]
    # 50 with 4.303 x 10 / sqrt(3); differences of 10, 12 and 8 points.
    for wanted in (50.0, 25.2, 74.8, 60.0, 30.0, 10.0, 5.0, 15.0, 80.0):
        assert wanted in numbers
    assert "3 s" in made
    assert "150" in made


@pytest.mark.parametrize("document", ["folders.md", "folders.zh.md"])
def test_the_words_on_advice_have_all_counts(
    measuring: ModuleType, folder_page: ModuleType, document: str
) -> None:
    counts = {
        "right advice": 101,
        "rightly silent": 202,
        "false alarm": 3,
        "false alarm, good advice": 14,
        "miss": 505,
        "wrong direction": 606,
        "stopped by an error": 77,
        "too sure, right advice": 88,
    }
    facts = {
        "models": ["a", "b", "c"],
        "optimizers": ["sgd"],
        "rates": [1e-7, 1e-3, 10.0],
        "data": ["digits", "mnist"],
        "counts": counts,
    }
    found = measuring.Result("advice", {"rounds": 8}, [], facts)
    numbers = re.findall(r"\d[\d.]*\d|\d", folder_page.advice(found, document))
    wanted = {
        "1596",
        "3",
        "1",
        "0.0000001",
        "10",
        "8",
        "202",
        "707",
        "505",
        "88",
        "77",
        "17",
        "14",
        "606",
    }
    assert wanted <= set(numbers)


def test_figures_are_put_between_their_comments(folder_page: ModuleType) -> None:
    document = folder_page.BEGIN.format(name="x") + "\nold\n" + folder_page.END + "\nafter"
    made = folder_page.put_into(f"before\n{document}", "x", "new")
    assert made.startswith("before\n<!-- Made by benchmarks/page.py: x -->\n\nnew\n\n<!-- The end")
    assert made.endswith("-->\nafter")
    assert "old" not in made
    with pytest.raises(SystemExit, match="lacks the comments"):
        folder_page.put_into("nothing", "x", "new")
