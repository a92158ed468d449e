"""A run's report as one page of HTML, with all that it shows in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from markupsafe import Markup

from tenfold.data.checks.findings import KINDS
from tenfold.data.dataset import ImageDataset
from tenfold.errors import counted, printable, shell_word
from tenfold.evaluation.calibration import Calibration
from tenfold.evaluation.report import SPLITS
from tenfold.reporting.pages.charts import Line, line_chart, reliability_chart
from tenfold.reporting.pages.pictures import picture_url, row_url
from tenfold.reporting.pages.rendering import rendered
from tenfold.reporting.pages.report_facts import (
    MOST_IN_MATRIX,
    Judgement,
    Probabilities,
    ReportFacts,
)
from tenfold.reporting.terminal import DECIDES_NOTHING, most_often_taken_for
from tenfold.runs.facts import RunFacts
from tenfold.runs.run import Run
from tenfold.training.history import EpochMetrics

MOST_IN_TABLE, MOST_WITH_SHARES = 30, 15
"""Classes of a confusion matrix with counts, and of one with counts and shares."""

LARGEST_IN_SQUARES = 40
"""Longest side of images whose pixels are drawn as squares; those of larger ones are smoothed."""

MOST_WITH_SAMPLES, SAMPLES = 60, 6
"""Classes of a data set with examples, and how many of each."""


def report_page(facts: ReportFacts, parts: Mapping[str, ImageDataset]) -> str:
    """The page.

    Args:
        facts: all that it says.
        parts: the run's splits, for pictures; empty if they are not there.
    """
    run, judgement = facts.run, facts.judgement
    shown: dict[str, Any] = {
        "verdict": None,
        "learned": None,
        "pairs": [],
        "mistakes": [],
        "n_wrong": 0,
        "n_sure": 0,
        "confusion": None,
        "per_class": [],
        "calibration": None,
    }
    sections = [("training", "Training"), ("data", "Data"), ("again", "Machine and commands")]
    if judgement is not None:
        part = parts.get(judgement.report.split)
        shown |= _judgement(judgement, part, run.facts.concerns)
        shown["learned"] = _learned(run)
        sections = [
            ("result", "Result"),
            *([("mistakes", "Mistakes")] if judgement.pairs else []),
            ("classes", "Classes"),
            *([("calibration", "Probabilities")] if judgement.probabilities else []),
            *sections,
        ]
    return rendered(
        "report.html",
        title=f"{run.recipe.model} on {printable(Path(run.facts.data.source).name)}",
        when=_day(run.facts.created),
        folder=printable(run.folder),
        sections=sections,
        missing=_sentence(facts.missing),
        concerns=[] if judgement is not None else list(map(_sentence, run.facts.concerns)),
        pixelated=max(run.facts.data.image_shape[1:]) <= LARGEST_IN_SQUARES,
        sentences=facts.sentences,
        chosen=_sentence(run.facts.chosen),
        curves=_curves(run.history),
        data=_data(facts, parts),
        machine=_machine(run.facts),
        commands=list(facts.commands().items()),
        **shown,
    )


# ---- The result --------------------------------------------------------------------------------


def _judgement(
    judgement: Judgement, part: ImageDataset | None, concerns: Sequence[str]
) -> dict[str, Any]:
    report = judgement.report
    return {
        "verdict": _verdict(judgement, concerns),
        "pairs": [
            {
                "true": pair.true,
                "predicted": pair.predicted,
                "n": pair.n,
                "of": round(pair.n / pair.share),
                "share": pair.share,
                "shown": len(pair.indices),
                "pictures": _row(part, pair.indices) if part is not None else "",
            }
            for pair in judgement.pairs
        ],
        "mistakes": [
            {**vars(mistake), "picture": picture_url(part.image_array[mistake.index])}
            for mistake in judgement.mistakes
            if part is not None
        ],
        "n_wrong": report.n - report.correct,
        "n_sure": judgement.n_sure,
        "per_class": [
            {**vars(figures), "taken_for": most_often_taken_for(report, label)}
            for label, figures in enumerate(report.per_class)
        ],
        "confusion": _confusion(report.confusion, report.classes),
        "calibration": _calibration(judgement.probabilities, SPLITS[report.split]),
    }


def _verdict(judgement: Judgement, concerns: Sequence[str]) -> dict[str, Any]:
    report = judgement.report
    low, high = report.interval
    return {
        "split": SPLITS[report.split],
        "n": report.n,
        "accuracy": report.accuracy,
        "low": low,
        "high": high,
        "digits": 2 if report.n >= 5000 else 1,
        "balanced": report.balanced_acc,
        "loss": report.loss,
        "weighted": judgement.is_weighted,
        "notes": [_sentence(note) for note in (*concerns, report.note, judgement.concern) if note],
        "bars": [
            ("this model", report.accuracy, True),
            *(
                [("nearest class mean", judgement.nearest_mean_acc, False)]
                if judgement.nearest_mean_acc is not None
                else []
            ),
            ("always the largest class", report.largest_share, False),
        ],
    }


def _learned(run: Run) -> dict[str, Any] | None:
    """How good the model was with the training images, to compare; None if that is not known."""
    figures = run.facts.figures
    if figures is None:
        return None
    return {
        "accuracy": figures.train_acc,
        "epoch": figures.best_epoch or figures.epochs,
    }


def _confusion(
    counts: Int64[np.ndarray, "classes classes"], classes: Sequence[str]
) -> Mapping[str, Any]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(classes) > MOST_IN_TABLE:
        drawn = _map(shares) if len(classes) <= MOST_IN_MATRIX else ""
        return {"rows": [], "names": [], "with_shares": False, "map": drawn}
    rows = []
    for true, name in enumerate(classes):
        cells = []
        for predicted in range(len(classes)):
            n, share = int(counts[true, predicted]), float(shares[true, predicted])
            look = Markup(' class="right"') if true == predicted else Markup("")
            tone = Markup(' style="--share:{}"').format(f"{share**0.5:.3f}") if n else Markup("")
            cells.append({"n": n, "share": share, "attributes": look + tone})
        rows.append((name, cells))
    return {
        "rows": rows,
        "names": classes,
        "with_shares": len(classes) <= MOST_WITH_SHARES,
        "map": "",
    }


def _map(shares: np.ndarray) -> Markup:
    """A confusion matrix of many classes: a square for each pair that occurs."""
    squares = [
        Markup('<rect{} x="{}" y="{}" width="1" height="1" opacity="{}"/>').format(
            Markup(' class="right"') if row == column else "",
            column,
            row,
            f"{max(0.15, shares[row, column] ** 0.5):.2f}",
        )
        for row, column in zip(*(each.tolist() for each in shares.nonzero()), strict=True)
    ]
    n = len(shares)
    return Markup(
        '<svg class="map" viewBox="0 0 {} {}" role="img" aria-label="Confusion matrix of {} '
        'classes; its counts are in report.json"><rect class="edge" x="0" y="0" width="{}" '
        'height="{}" opacity="0.06"/>{}</svg>'
    ).format(n, n, n, n, n, Markup("").join(squares))


def _calibration(found: Probabilities | None, split: str) -> Mapping[str, Any] | None:
    if found is None:
        return None
    charts = [("Without temperature" if found.n_fitted else "As the network gives them", found.raw)]
    if found.n_fitted:
        charts.append((f"With temperature {found.temperature:.3f}", found.calibrated))
    both = [calibration for _, calibration in charts]
    return {
        "sentence": _about_temperature(found, split),
        "charts": [
            (_distance(each), reliability_chart(each, title=title, name=f"reliability-{number}"))
            for number, (title, each) in enumerate(charts)
        ],
        "columns": ["raw", "with temperature"] if found.n_fitted else ["raw"],
        "rows": [
            ("negative log-likelihood (nats)", [each.nll for each in both]),
            ("Brier score", [each.brier for each in both]),
            ("expected calibration error", [each.ece for each in both]),
        ],
        "bins": both[-1].bins,
    }


def _about_temperature(found: Probabilities, split: str) -> str:
    meaning = (
        "Of the answers with a probability of, say, 80 %, about 80 % should be right; then the "
        "points lie on the dashed line."
    )
    if not found.n_fitted:
        return f"{meaning} No temperature was fitted, so they are as the network gives them."
    same = "which are the images judged here, so they fit a little too well"
    return (
        f"{meaning} The logits are divided by a temperature of {found.temperature:.3f}, which was "
        f"fitted to {counted(found.n_fitted, 'validation image')}"
        f"{f', {same}' if split == SPLITS['val'] else ''}; it changes no answer, only the "
        "probabilities that the model file gives. The loss in the figures of the run is that of "
        "the raw logits."
    )


def _distance(calibration: Calibration) -> str:
    return (
        f"Probability and accuracy are {100 * calibration.ece:.1f} percentage points apart on "
        "average. The stronger a bar's color, the more answers it stands for."
    )


# ---- Training, data, machine -------------------------------------------------------------------


_CURVES = (
    ("Loss", "nats per image", "loss", 1),
    ("Accuracy", "share of the images (%)", "acc", 100),
)
"""Title and unit of a chart, the end of its figures' names, and what they are multiplied by."""


def _curves(history: Sequence[EpochMetrics]) -> list[Markup]:
    charts = []
    for title, unit, figure, factor in _CURVES:
        lines = [
            Line(name, style, points)
            for style, (split, name) in enumerate(SPLITS.items())
            if (points := _points(history, f"{split}_{figure}", factor))
        ]
        if lines:
            has_test = any(line.name == SPLITS["test"] for line in lines)
            remark = f" (test: {DECIDES_NOTHING})" if has_test else ""
            charts.append(
                _over_epochs(title, unit, lines, from_zero=figure == "loss", remark=remark)
            )
    rates = [Line("rate", 5, _points(history, "lr", 1))]
    charts.append(_over_epochs("Learning rate", "of each epoch's last step", rates, from_zero=True))
    return charts


def _over_epochs(
    title: str, unit: str, lines: Sequence[Line], *, from_zero: bool, remark: str = ""
) -> Markup:
    return line_chart(
        lines,
        title=title + remark,
        x_label="epoch",
        y_label=unit,
        name=title.lower().replace(" ", "-"),
        from_zero=from_zero,
    )


def _points(history: Sequence[EpochMetrics], figure: str, factor: int) -> list[tuple[float, float]]:
    """The finite values of a figure by epoch."""
    values = [(float(metrics.epoch), getattr(metrics, figure)) for metrics in history]
    return [(x, factor * y) for x, y in values if y is not None and math.isfinite(y)]


def _data(facts: ReportFacts, parts: Mapping[str, ImageDataset]) -> Mapping[str, Any]:
    data = facts.run.facts.data
    counts = facts.counts
    splits = [split for split in SPLITS if split in data.n]
    samples = _samples(parts["train"]) if parts and len(data.classes) <= MOST_WITH_SAMPLES else []
    channels, height, width = data.image_shape
    return {
        "facts": [
            ("source", data.source),
            (
                "images",
                ", ".join(f"{SPLITS[split]} {data.n[split]:,}" for split in splits),
            ),
            ("classes", f"{len(data.classes):,}"),
            (
                "pixels",
                f"{width} x {height} (width x height), {'color' if channels == 3 else 'gray'}"
                if channels in (1, 3)
                else f"{width} x {height} (width x height), {channels} channels",
            ),
            ("fingerprint", data.fingerprint),
            *([("left out, as unreadable", f"{len(data.skipped):,}")] if data.skipped else []),
            *([("corrected labels", f"{len(data.corrections):,}")] if data.corrections else []),
            *(
                [("added", f"{counted(data.n_added, 'training image')}, from {data.added.place}")]
                if data.added and data.n_added
                else []
            ),
        ],
        "notes": [_sentence(note) for note in data.notes],
        "splits": [SPLITS[split] for split in counts],
        "counts": [
            {
                "name": name,
                "counts": [counts[split][label] for split in counts],
                "samples": samples[label] if samples else "",
            }
            for label, name in enumerate(data.classes)
        ]
        if counts
        else [],
        "has_samples": bool(samples),
        "check": None if facts.check is None else str(facts.check),
        "findings": [(KINDS[kind].title, n) for kind, n in facts.findings.items()],
        "check_command": f"tenfold check {shell_word(data.source)}"
        if data.can_be_reopened
        else "tenfold.check(data)",
    }


def _samples(train: ImageDataset) -> list[str]:
    """For each class, some of its images in a row; empty for a class without images."""
    rows = []
    for label in range(len(train.classes)):
        indices = np.flatnonzero(train.label_array == label)
        some = indices[np.linspace(0, len(indices) - 1, min(SAMPLES, len(indices))).astype(int)]
        rows.append(_row(train, some.tolist()) if len(some) else "")
    return rows


def _row(part: ImageDataset, indices: Sequence[int]) -> str:
    images = part.image_array[list(indices)]
    return row_url(images)


def _machine(facts: RunFacts) -> list[tuple[str, str]]:
    figures, conditions = facts.figures, facts.conditions
    assert figures is not None, "the run has ended"
    seconds, images = figures.seconds, figures.n_train * figures.epochs
    exact = all(session.bit_exact for session in facts.sessions)
    rows = {
        "training": f"{_duration(seconds)} for {counted(figures.epochs, 'epoch')}",
        "pace": f"{images / seconds:,.0f} images per second, with validation" if seconds else "",
        "memory": f"{facts.peak_memory / 2**20:,.0f} MiB at most, of the whole process"
        if facts.peak_memory
        else "",
        "engine": f"{conditions.engine}, {counted(conditions.threads, 'thread')}",
        "device": conditions.device,
        "instructions": conditions.instructions,
        "versions": f"tenfold {conditions.tenfold}, PyTorch {conditions.torch}, "
        f"Python {facts.python}",
        "system": facts.platform,
        "sessions": f"{len(facts.sessions):,}{'' if exact else ', not bit-exact'}",
        "git revision": facts.git_revision or "",
    }
    return [(name, value) for name, value in rows.items() if value]


def _duration(seconds: float | int) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _sentence(note: str) -> str:
    """A note, which has no capital letter and no full stop, as a sentence; empty if it is."""
    return f"{note[0].upper()}{note[1:]}." if note else ""


def _day(moment: str) -> str:
    """A moment as in `run.json`, in the form in which people write it."""
    try:
        return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return moment
