"""The figures in docs/folders.md, check.md and others, and in their translations.

They are made of stored results; `page.py` puts them between comments in these documents.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence

import numpy as np
from measuring import Result
from scipy.stats import t as student_t

WHERE = {
    "folders.md": "On {cores} cores of the processor {processor}, Python {python}, PyTorch "
    "{torch}, {measured}, commit {revision}.",
    "folders.zh.md": "测量环境：处理器 {processor} 的 {cores} 个核，Python {python}，"
    "PyTorch {torch}，{measured}，提交 {revision}。",
}
"""Where and when something was measured, by the document."""

WHERE |= {
    f"{document}{language}": WHERE[f"folders{language}"]
    for document in ("check", "starting", "report", "serving")
    for language in (".md", ".zh.md")
}

COMPARISON = {
    "folders.md": {
        "head": "| pictures | way | accuracy | balanced accuracy | time |",
        "tenfold": "`tenfold train`",
        "hog": "HOG and logistic regression",
        "hog, balanced": "HOG, classes weighted equally",
        "cnn": "plain PyTorch network",
        "signs.tar": "hand signs",
        "tiles.tar": "magnetic tiles",
        "than": "`tenfold train` minus {way}, in percentage points, with the 95 % interval of the "
        "paired differences: {differences}.",
        "points": "{name} {mean:.1f} ({low:.1f} to {high:.1f})",
        "list": "; ",
        "samples": "Means and standard deviations of accuracies over {n} splits, medians of "
        "times. ",
    },
    "folders.zh.md": {
        "head": "| 图片 | 方法 | 准确率 | 平衡准确率 | 时间 |",
        "tenfold": "`tenfold train`",
        "hog": "HOG 加逻辑回归",
        "hog, balanced": "HOG，类别权重均衡",
        "cnn": "普通的 PyTorch 网络",
        "signs.tar": "手势",
        "tiles.tar": "磁瓦",
        "than": "`tenfold train` 的准确率减去“{way}”的准确率，以百分点计，"
        "括号内是配对差的 95 % 区间：{differences}。",
        "points": "{name} {mean:.1f}（{low:.1f} 到 {high:.1f}）",
        "list": "；",
        "samples": "准确率是 {n} 次划分的平均值和标准差，时间是中位数。",
    },
}
"""The words on how good the default is, likewise; ways and data by their names in the result."""

ADVICE = {
    "folders.md": "How often that is right was counted in {runs} runs ([benchmarks/advice.py]"
    "(../benchmarks/advice.py)): {models} models, {optimizers} optimizers, {rates} learning rates "
    "from {lowest} to {highest}, {data}, and {rounds} seeds. {silent} runs learned and got no "
    "advice. {right} had not learned at their end, and got advice; {misses} had not, and got none. "
    "{sure} had a high loss although many answers were right, and got advice. "
    "{failed} were stopped because their loss was no longer finite. {alarms} got advice after a "
    "few hundred steps and learned later; for {helped} of them, a learning rate that the advice "
    "names led to a lower loss. In {wrong} runs, the rate in the direction that was named led to a "
    "higher loss, and that in the other direction to a lower one.",
    "folders.zh.md": "这些建议有多准，是在 {runs} 次训练中统计的（[benchmarks/advice.py]"
    "(../benchmarks/advice.py)）：{models} 种模型、{optimizers} 种优化器、从 {lowest} 到 "
    "{highest} 的 {rates} 个学习率、{data}、{rounds} 个种子。{silent} 次学到了东西，没有得到建议；"
    "{right} 次到最后也没有学到，得到了建议；{misses} 次没有学到，也没有得到建议；{sure} 次很多回答"
    "是对的而损失太高，得到了建议；{failed} 次因为"
    "损失不再有限而停止；{alarms} 次在几百步之后得到建议，后来又学到了，其中 {helped} 次按建议改变"
    "学习率，损失确实更低。{wrong}沿建议的方向改变学习率使损失更高，而沿相反的方向更低。",
}
"""The words on how often the advice is right, likewise."""

CHECKED = {
    "check.md": {
        "mnist": "MNIST",
        "fashion-mnist": "Fashion-MNIST",
        "cifar10": "CIFAR-10",
        "exact": "found of 100 exact copies",
        "JPEG 90": "saved as JPEG, quality 90",
        "JPEG 75": "saved as JPEG, quality 75",
        "resized": "scaled to three quarters and back",
        "shifted": "moved by a pixel",
        "brightened": "brightened by 10 to 30 %",
        "per 1,000 images": "pairs among 1,000 images of the data itself",
        "time, memory": "search for near duplicates: time, memory",
        "in the first 100": "of 50 wrong labels, in the first 100 suspects",
        "in the first 200": "in the first 200",
        "labels": "checking 10,000 labels",
        "brief": "brief check before a training",
        "epoch": "a first epoch of {recipes}",
        "list": ", ",
        "comma": ", ",
        "machine": "Means of {n} rounds, and medians of times; CIFAR-10 is {cifar10}. ",
    },
    "check.zh.md": {
        "mnist": "MNIST",
        "fashion-mnist": "Fashion-MNIST",
        "cifar10": "CIFAR-10",
        "exact": "100 张完全相同的副本中找到",
        "JPEG 90": "存为质量 90 的 JPEG",
        "JPEG 75": "存为质量 75 的 JPEG",
        "resized": "缩到四分之三再放大",
        "shifted": "移动一个像素",
        "brightened": "调亮 10 % 到 30 %",
        "per 1,000 images": "每 1,000 张原有图片中几乎相同的图片对",
        "time, memory": "查找几乎相同的图片：时间、内存",
        "in the first 100": "50 个错误标签中，在前 100 个可疑标签里的",
        "in the first 200": "在前 200 个里的",
        "labels": "检查 10,000 个标签",
        "brief": "训练前的简短检查",
        "epoch": "{recipes} 的第一轮",
        "list": "、",
        "comma": "，",
        "a JPEG copy of CIFAR-10": "它的 JPEG 副本",
        "machine": "{n} 次的平均值，时间是中位数；CIFAR-10 用的是{cifar10}。",
    },
}
"""The words on what the check finds, likewise."""

TRANSFER = {
    "starting.md": {
        "head": "| | {eaches} |",
        "each": "{each} pictures a class",
        "new": "`tenfold train` (64 x 64 pixels, a wider network)",
        "new, small": "`tenfold train --image-size 32`",
        "all": "`--from` CIFAR-10 (32 x 32 pixels)",
        "all, large": "`--from` CIFAR-10 `--image-size 64`",
        "last": "`--from` CIFAR-10 `--freeze`",
        "last, views": "the same with `--set views=8`",
        "hog": "HOG and logistic regression",
        "interval": "{mean:.1f} ({low:.1f} to {high:.1f})",
        "time": ", {seconds:.0f} s",
        "difference": "All layers from CIFAR-10 minus a new network on pictures of the same size: "
        "{differences} points.",
        "list": ", ",
        "samples": "Accuracies in percent on all other pictures, and medians of times; means over "
        "{n} choices of pictures, with the 95 % interval of the mean, and of the paired "
        "differences. The same person may be on both sides, and choices share pictures. The "
        "network of CIFAR-10 was trained for {start_seconds:.0f} s, to {start_accuracy:.1f} %. ",
    },
    "starting.zh.md": {
        "head": "| | {eaches} |",
        "each": "每类 {each} 张",
        "new": "`tenfold train`（64 x 64 像素，更宽的网络）",
        "new, small": "`tenfold train --image-size 32`",
        "all": "`--from` CIFAR-10（32 x 32 像素）",
        "all, large": "`--from` CIFAR-10 `--image-size 64`",
        "last": "`--from` CIFAR-10 `--freeze`",
        "last, views": "同上，加 `--set views=8`",
        "hog": "HOG 加逻辑回归",
        "interval": "{mean:.1f}（{low:.1f} 到 {high:.1f}）",
        "time": "，{seconds:.0f} s",
        "difference": "从 CIFAR-10 开始训练所有层，减去同样尺寸的新网络：{differences}个百分点。",
        "list": "、",
        "samples": "其余所有图片上的准确率（%），时间是中位数；{n} 次随机选取的平均值，括号内是"
        "平均值和配对差的 95 % 区间。同一个人可能在两边，各次选取的图片有重叠。CIFAR-10 的网络"
        "训练了 {start_seconds:.0f} 秒，准确率 {start_accuracy:.1f} %。",
    },
}
"""The words on what a trained network is worth, likewise."""

REPORTS = {
    "report.md": {
        "title": "## What it costs",
        "head": "| data | images | classes | time | page |",
        "signs.tar": "hand signs",
        "tiles.tar": "magnetic tiles",
        "cifar10-jpeg.tar.xz": "CIFAR-10 as JPEG files",
        "time": "{middle:.2f} s ({lowest:.2f} to {highest:.2f})",
        "samples": "[benchmarks/reports.py](../benchmarks/reports.py): the time to write the three "
        "files after a run, median (lowest to highest) of {n}, the first one with the imports that "
        "it needs. ",
    },
    "report.zh.md": {
        "title": "## 生成报告的开销",
        "head": "| 数据 | 图片 | 类别 | 时间 | 网页 |",
        "signs.tar": "手势",
        "tiles.tar": "磁瓦",
        "cifar10-jpeg.tar.xz": "JPEG 格式的 CIFAR-10",
        "time": "{middle:.2f} s（{lowest:.2f} 到 {highest:.2f}）",
        "samples": "[benchmarks/reports.py](../benchmarks/reports.py)：训练结束后写这三个文件的"
        "时间，{n} 次的中位数（最短到最长），第一次包括导入模块的时间。",
    },
}
"""The words on what a report costs, likewise."""

SERVED = {
    "serving.md": {
        "title": "## How fast it is",
        "head": "| connections | requests per second | median | 99th percentile | errors |",
        "rate": "{middle:,.0f} ({lowest:,.0f} to {highest:,.0f})",
        "latency": "{middle:.1f} ms ({lowest:.1f} to {highest:.1f})",
        "long": "In {minutes:.1f} minutes with {connections} connections, {requests:,} requests "
        "were answered, with {errors:,} errors; the 99th and 99.9th percentiles of the latency "
        "were {p99:.1f} and {p999:.1f} ms, the longest {longest:.0f} ms. The server's memory was "
        "{first_mib:.1f} MiB after the first second and {last_mib:.1f} MiB after the last, with a "
        "slope of {slope_mib_per_minute:+.2f} MiB a minute.",
        "samples": "[benchmarks/serving.py](../benchmarks/serving.py): `lenet` for MNIST, single "
        "images of 28x28 pixels as PNG files, by wrk on the same cores, over kept-alive "
        "connections; medians (lowest to highest) of {rounds} runs of {seconds} seconds, by turns. "
        "Before that, the answers to all 10,000 test images were those of `tenfold.load`. The "
        "machine's load was {load:.1f} before. ",
    },
    "serving.zh.md": {
        "title": "## 有多快",
        "head": "| 连接数 | 每秒请求数 | 延迟的中位数 | 延迟的第 99 百分位数 | 错误 |",
        "rate": "{middle:,.0f}（{lowest:,.0f} 到 {highest:,.0f}）",
        "latency": "{middle:.1f} ms（{lowest:.1f} 到 {highest:.1f}）",
        "long": "用 {connections} 个连接持续 {minutes:.1f} 分钟，回答了 {requests:,} 个请求，"
        "{failed}；延迟的第 99 和第 99.9 百分位数是 {p99:.1f} ms 和 {p999:.1f} ms，最长 "
        "{longest:.0f} ms。服务器的内存在第一秒之后是 {first_mib:.1f} MiB，在最后一秒之后是 "
        "{last_mib:.1f} MiB，变化的斜率是每分钟 {slope_mib_per_minute:+.2f} MiB。",
        "samples": "[benchmarks/serving.py](../benchmarks/serving.py)：MNIST 的 `lenet`，每个请求"
        "一张 28x28 像素的 PNG 图片，由 wrk 在同样的核上通过长连接发送；轮流测量，每次 {seconds} "
        "秒，是 {rounds} 次的中位数（最低到最高）。测量之前，全部 10,000 张测试图片的回答都与 "
        "`tenfold.load` 的相同，机器的负载是 {load:.1f}。",
    },
}
"""The words on how fast the server is, likewise."""

DOCUMENTS = tuple(WHERE)
BEGIN, END = "<!-- Made by benchmarks/page.py: {name} -->", "<!-- The end of what it made -->"


def where(result: Result, document: str) -> str:
    """The machine, the versions and the date."""
    machine = dict(result.machine)
    if is_chinese(document):
        machine["processor"] = re.sub(r" with (\S+)$", r"（支持 \1）", str(machine["processor"]))
    made = WHERE[document].format(measured=result.measured, revision=result.revision, **machine)
    return made.replace("） ", "）")


def is_chinese(document: str) -> bool:
    """Whether a document is a translation."""
    return document.endswith(".zh.md")


def comparison(result: Result, document: str) -> str:
    """A table of accuracies, and how they compare."""
    words = COMPARISON[document]
    names = list(dict.fromkeys(figure.of.partition(", ")[0] for figure in result.figures))
    ways = list(dict.fromkeys(figure.way for figure in result.figures))
    lines = [words["head"], "| --- | --- | --- | --- | --- |"]
    for name in names:
        for way in ways:
            cells = []
            for of in ("accuracy", "balanced"):
                samples = np.array(result.figure(f"{name}, {of}", way).samples)
                cells.append(f"{samples.mean():.3f} ± {samples.std(ddof=1):.3f}")
            cells.append(f"{result.figure(f'{name}, seconds', way).median:.0f} s")
            lines.append(f"| {words.get(name, name)} | {words[way]} | {' | '.join(cells)} |")
    compared = []
    for way in ways:
        if way == "tenfold":
            continue
        points = []
        for name in names:
            ours, theirs = (result.figure(f"{name}, accuracy", w).samples for w in ("tenfold", way))
            mean, low, high = 100 * interval_of(np.subtract(ours, theirs))
            points.append(
                words["points"].format(name=words.get(name, name), mean=mean, low=low, high=high)
            )
        differences = words["list"].join(points)
        compared.append("- " + words["than"].format(way=words[way], differences=differences))
    samples = words["samples"].format(n=len(result.figures[0].samples))
    return "\n".join([*lines, "", *compared, "", samples + where(result, document)])


def advice(result: Result, document: str) -> str:
    """How often the advice was right."""
    facts, counts = result.facts, result.facts["counts"]
    assert isinstance(counts, dict)
    lists = {name: values for name, values in facts.items() if isinstance(values, list) and values}
    alarms = counts.get("false alarm", 0), counts.get("false alarm, good advice", 0)
    data, wrong = " and ".join(lists["data"]), str(counts.get("wrong direction", 0))
    if is_chinese(document):
        data = f"{len(lists['data'])} 个数据集（{'、'.join(lists['data'])}）"
        wrong = "没有一次是" if wrong == "0" else f"有 {wrong} 次是"
    made = ADVICE[document].format(
        runs=sum(counts.values()),
        models=len(lists["models"]),
        optimizers=len(lists["optimizers"]),
        rates=len(lists["rates"]),
        lowest=f"{min(lists['rates']):.12f}".rstrip("0").rstrip("."),
        highest=f"{max(lists['rates']):g}",
        data=data,
        rounds=result.settings["rounds"],
        silent=counts.get("rightly silent", 0),
        right=counts.get("right advice", 0) + counts.get("wrong direction", 0),
        sure=counts.get("too sure, right advice", 0),
        misses=counts.get("miss", 0),
        failed=counts.get("stopped by an error", 0),
        alarms=sum(alarms),
        helped=alarms[1],
        wrong=wrong,
    )
    return made + ("" if is_chinese(document) else " ") + where(result, document)


def checked(result: Result, document: str) -> str:
    """A table of what the check finds in which data, and how long it takes."""
    words, sets = CHECKED[document], [str(name) for name in result.settings["sets"]]
    rows: dict[str, list[str]] = {}

    def add(row: str, cell: str) -> None:
        rows.setdefault(row, []).append(cell)

    for name in sets:
        of_copies = f"{name}, copies found"
        for kind in [figure.way for figure in result.figures if figure.of == of_copies]:
            add(words[kind], f"{100 * np.mean(result.figure(of_copies, kind).samples):.0f}")
        own = result.figure(f"{name}, pairs of its own", "per 1,000 images")
        add(words[own.way], f"{np.mean(own.samples):.2f}")
        for suspects in ("in the first 100", "in the first 200"):
            shares = result.figure(f"{name}, wrong labels found", suspects).samples
            add(words[suspects], f"{50 * np.mean(shares):.1f}")
        search = next(figure.of for figure in result.figures if f"{name}, searched" in figure.of)
        seconds, memory = (result.figure(search, way).median for way in ("time", "memory"))
        add(words["time, memory"], f"{seconds:.0f} s{words['comma']}{memory:.0f} MiB")
        add(words["labels"], f"{result.figure(f'{name}, labels of 10,000', 'time').median:.0f} s")
        times = [figure for figure in result.figures if figure.of == f"{name}, brief check"]
        add(words["brief"], f"{times[0].median:.3f} s")
        add("epoch", f"{times[1].median:.2f} s")
    recipes = [f.way for f in result.figures if f.way.startswith("epoch of ")]
    listed = words["list"].join(f"`{way.removeprefix('epoch of ')}`" for way in recipes)
    lines = [
        f"| | {' | '.join(words[name] for name in sets)} |",
        "| --- |" + " --- |" * len(sets),
        *(
            f"| {words['epoch'].format(recipes=listed) if row == 'epoch' else row} | "
            f"{' | '.join(cells)} |"
            for row, cells in rows.items()
        ),
    ]
    n = len(result.figures[0].samples)
    cifar10 = str(result.machine["cifar10"])
    machine = words["machine"].format(n=n, cifar10=words.get(cifar10, cifar10))
    return "\n".join([*lines, "", machine + where(result, document)])


def transfer(result: Result, document: str) -> str:
    """A table of accuracies with few pictures, by what the network starts from."""
    words = TRANSFER[document]
    sets = list(dict.fromkeys(f.of for f in result.figures if "time" not in f.of))
    ways = list(dict.fromkeys(figure.way for figure in result.figures))
    titles = [words["each"].format(each=of.partition(" ")[0]) for of in sets]
    lines = [words["head"].format(eaches=" | ".join(titles)), "| --- |" + " --- |" * len(sets)]

    def interval(samples: Sequence[float] | np.ndarray) -> str:
        mean, low, high = 100 * interval_of(samples)
        return words["interval"].format(mean=mean, low=low, high=high)

    for way in ways:
        cells = []
        for of in sets:
            seconds = words["time"].format(seconds=result.figure(f"{of}, time", way).median)
            cells.append(f"{interval(result.figure(of, way).samples)}{seconds}")
        lines.append(f"| {words[way]} | {' | '.join(cells)} |")
    differences = [
        interval(np.subtract(*(result.figure(of, way).samples for way in ("all", "new, small"))))
        for of in sets
    ]
    start = result.facts["start"]
    assert isinstance(start, dict)
    samples = words["samples"].format(
        n=len(result.figures[0].samples),
        start_seconds=start["seconds"],
        start_accuracy=100 * start["accuracy"],
    )
    compared = words["difference"].format(differences=words["list"].join(differences))
    return "\n".join([*lines, "", compared, "", samples + where(result, document)])


def reported(result: Result, document: str) -> str:
    """A table of the time that reports take, and of the size of their pages."""
    words = REPORTS[document]
    lines = [words["title"], "", words["head"], "| --- | --- | --- | --- | --- |"]
    for figure in result.figures:
        facts = result.facts[figure.of]
        assert isinstance(facts, dict)
        cells = [
            words.get(figure.of, f"`{figure.of}`"),
            f"{sum(facts['n'].values()):,}",
            f"{facts['classes']:,}",
            words["time"].format(
                middle=figure.median, lowest=min(figure.samples), highest=max(figure.samples)
            ),
            f"{facts['report.html'] / 1e6:.2f} MB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    samples = words["samples"].format(n=len(result.figures[0].samples))
    return "\n".join([*lines, "", samples + where(result, document)])


def served(result: Result, document: str) -> str:
    """A table of what a server does under load, and what becomes of its memory."""
    words = SERVED[document]
    lines = [words["title"], "", words["head"], "| --- | --- | --- | --- | --- |"]
    errors, long, load = (result.facts[name] for name in ("errors", "minutes", "load"))
    assert isinstance(errors, dict)
    assert isinstance(long, dict)

    def cell(kind: str, middle: float, samples: Sequence[float]) -> str:
        return words[kind].format(middle=middle, lowest=min(samples), highest=max(samples))

    for of, failed in errors.items():
        times = result.figure(of, "per request")
        cells = [cell("rate", 1000 / times.median, [1000 / each for each in times.samples])]
        for way in ("median", "99th percentile"):
            figure = result.figure(of, way)
            cells.append(cell("latency", figure.median, figure.samples))
        lines.append(f"| {of.partition(' ')[0]} | {' | '.join(cells)} | {failed:,} |")
    failed = f"有 {long['errors']:,} 个出错" if long["errors"] else "没有出错"
    memory = words["long"].format(
        connections=[*errors][-1].partition(" ")[0], failed=failed, **long
    )
    samples = words["samples"].format(load=load, **result.settings)
    return "\n".join([*lines, "", memory, "", samples + where(result, document)])


FIGURES = {
    "reports": (reported, ("report.md", "report.zh.md")),
    "serving": (served, ("serving.md", "serving.zh.md")),
    "transfer": (transfer, ("starting.md", "starting.zh.md")),
    "folders": (comparison, ("folders.md", "folders.zh.md")),
    "advice": (advice, ("folders.md", "folders.zh.md")),
    "doctor": (checked, ("check.md", "check.zh.md")),
}
"""By the benchmark's name, what is made of its result, and for which documents."""


def interval_of(samples: Sequence[float] | np.ndarray) -> np.ndarray:
    """The mean of samples, and its 95 % interval by Student's t."""
    n = len(samples)
    half = student_t.ppf(0.975, n - 1) * np.std(samples, ddof=1) / math.sqrt(n)
    return np.mean(samples) + np.array([0, -half, half])


def put_into(document: str, name: str, made: str) -> str:
    """A document with what was made of a result between its two comments."""
    wanted = BEGIN.format(name=name)
    before, begin, rest = document.partition(wanted)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"the document lacks the comments {wanted} and {END}")
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"
