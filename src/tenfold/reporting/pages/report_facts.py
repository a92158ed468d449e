"""All figures of a run's report: the contents of `report.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import tenfold
from tenfold.data.checks.findings import KINDS
from tenfold.data.dataset import ImageDataset
from tenfold.errors import FileRefusedError, percent, shell_quoted, shell_word
from tenfold.evaluation.baselines import nearest_mean_accuracy
from tenfold.evaluation.calibration import Calibration, calibration_of
from tenfold.evaluation.report import SPLITS, Report, report_of
from tenfold.reporting.pages.answers import Answers, Mistake, Pair, pairs_of
from tenfold.reporting.pages.words import recipe_in_words
from tenfold.reporting.terminal import as_typed
from tenfold.runs.evidence import Evidence
from tenfold.runs.folder import MAX_TEXT_SIZE, RunFolder
from tenfold.runs.run import Run
from tenfold.storage import read_text

SCHEMA = 1
"""Version of `report.json`."""

MOST_PAIRS, MOST_EXAMPLES, MOST_MISTAKES = 8, 8, 24
"""Of confused classes, of images for each pair, and of the costliest mistakes."""

MOST_IN_MATRIX = 300
"""Classes of a confusion matrix that is repeated here."""

SURE = 0.99
"""An answer at least as probable that disagrees with the label deserves a look at the label."""


@dataclass(frozen=True)
class Probabilities:
    """How well probabilities fit, before and after the temperature.

    Attributes:
        temperature: by which logits are divided.
        n_fitted: number of validation images that it was fitted to; 0 if there were none, and the
            temperature is 1.
        raw: with the temperature 1.
        calibrated: with the model's temperature.
    """

    temperature: float
    n_fitted: int
    raw: Calibration
    calibrated: Calibration


@dataclass(frozen=True)
class Judgement:
    """How good a model is on images that it was not trained on.

    Attributes:
        report: the figures, by class and as a whole.
        pairs: the classes that are confused most often.
        nearest_mean_acc: accuracy of choosing the class whose mean training image is nearest, 0..1;
            None without the images, like what follows.
        mistakes: the costliest ones.
        n_sure: how many answers that are at least `SURE` disagree with the label.
        probabilities: how well they fit.
        is_weighted: whether the loss is with the class weights of training.
    """

    report: Report
    pairs: Sequence[Pair]
    nearest_mean_acc: float | None = None
    mistakes: Sequence[Mistake] = ()
    n_sure: int = 0
    probabilities: Probabilities | None = None
    is_weighted: bool = False

    @property
    def concern(self) -> str:
        """What to say if a simple baseline is better; empty if none is."""
        baselines = {
            "choosing the class whose mean training image is nearest": self.nearest_mean_acc or 0.0
        }
        if not self.is_weighted:  # class weights give up accuracy for rare classes
            baselines["always answering the largest class"] = self.report.largest_share
        name, accuracy = max(baselines.items(), key=lambda item: item[1])
        if accuracy <= self.report.interval[1]:
            return ""
        right = percent(self.report.accuracy)
        return (
            f"{name} is right for {percent(accuracy)} of the {SPLITS[self.report.split]} "
            f"images, and this model only for {right}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "split": self.report.split,
            **self._figures(),
            "nearest_mean_acc": self.nearest_mean_acc,
            "concern": self.concern,
            "confused": [asdict(pair) for pair in self.pairs],
            "costliest_mistakes": [asdict(mistake) for mistake in self.mistakes],
            "sure_mistakes": self.n_sure,
            "calibration": None if self.probabilities is None else asdict(self.probabilities),
        }

    def _figures(self) -> dict[str, Any]:
        """Those of the report; the confusion matrix of very many classes is only in `run.json`."""
        found = self.report.to_dict()
        if len(self.report.classes) > MOST_IN_MATRIX:
            del found["confusion"]
        return found


@dataclass(frozen=True)
class ReportFacts:
    """Everything that a report says.

    Attributes:
        run: the run.
        sentences: its recipe in words.
        counts: for each split, the number of images of each class; empty if the data is not there.
        judgement: None if there is nothing but training images, or the data is not there.
        findings: how many things of each kind the newest check of the data has found, by kind.
        check: the page of that check; None if there was none.
        missing: why there are no images and what is computed from them; empty if they are there.
    """

    run: Run
    sentences: Sequence[str]
    counts: Mapping[str, Sequence[int]]
    judgement: Judgement | None
    findings: Mapping[str, int] = field(default_factory=dict)
    check: Path | None = None
    missing: str = ""

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(self.run.folder)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        run, facts = self.run, self.run.facts
        return {
            "schema": SCHEMA,
            "tenfold": tenfold.__version__,
            **{key: value for key, value in run.to_dict().items() if key != "schema"},
            "created": facts.created,
            "trained_on": {**facts.data.model_dump(mode="json"), "class_counts": dict(self.counts)},
            "recipe": run.recipe.to_dict(),
            "recipe_in_words": list(self.sentences),
            "chosen_by_data": facts.chosen,
            "concern": facts.concern,
            "advice": list(facts.advice),
            "judged_on": None if self.judgement is None else self.judgement.to_dict(),
            "findings": dict(self.findings),
            "peak_memory": facts.peak_memory,
            "environment": {
                "python": facts.python,
                "platform": facts.platform,
                "git_revision": facts.git_revision,
                **facts.conditions.model_dump(mode="json"),
            },
            "commands": self.commands(),
            "missing": self.missing,
            "results": facts.sha256_of_results,
        }

    def commands(self) -> dict[str, str]:
        """Commands that repeat the run and continue it, by what they do."""
        folder, code = RunFolder(as_typed(self.run.folder)), self.run.facts.naming_code
        found = {"classify pictures": folder.command("predict", "PICTURE...", *code)}
        own = self.run.facts.own
        if not self.run.facts.data.can_be_reopened or (own is not None and not self.run.facts.code):
            return found
        recipe = shell_word(as_typed(folder.recipe))
        (first, *others) = self.run.facts.sessions
        # A continued run may have been lengthened, so that its first epochs had another schedule.
        exactly = first.bit_exact and not others
        again = "train again, to the same bits" if exactly else "train again with the same recipe"
        epochs = 2 * self.run.recipe.epochs
        return {
            again: f"tenfold train --recipe {recipe}"
            + (f" --model {shell_quoted(self.run.facts.own_model)}" if own is not None else ""),
            "evaluate again": folder.command("evaluate", *code),
            **found,
            "train further": folder.command("resume", "--epochs", str(epochs), *code),
            "make this report again": folder.command("report", *code),
        }


def report_facts(run: Run, evidence: Evidence | None, missing: str = "") -> ReportFacts:
    """The facts of a run that has ended.

    Args:
        run: the run.
        evidence: its images, and what its model says about them; None if they are not there.
        missing: why they are not there.
    """
    check, findings = newest_findings(run)
    return ReportFacts(
        run=run,
        sentences=recipe_in_words(run),
        counts=class_counts(evidence.parts) if evidence else {},
        judgement=judged(evidence) if evidence else judged_in_folder(run),
        findings=findings,
        check=check,
        missing=missing,
    )


def class_counts(parts: Mapping[str, ImageDataset]) -> dict[str, list[int]]:
    """For each split, the number of images of each class."""
    return {split: part.class_counts().tolist() for split, part in parts.items()}


def answers_of(evidence: Evidence) -> dict[str, Answers]:
    """The answers for the images that the model was not trained on, by split; the test first."""
    return {
        split: Answers(evidence.parts[split], evidence.logits[split], evidence.header.temperature)
        for split in ("test", "val")
        if split in evidence.logits
    }


def judged(evidence: Evidence) -> Judgement | None:
    """The judgement by the test images, or else the validation images; None without both."""
    answers = next(iter(answers_of(evidence).values()), None)
    if answers is None:
        return None
    part, logits, header = answers.part, answers.logits, evidence.header
    sure = answers.probability[answers.costliest] >= SURE
    temperature = header.temperature
    return Judgement(
        report=report_of(logits, part, header.class_weights),
        nearest_mean_acc=nearest_mean_accuracy(evidence.parts["train"], part),
        pairs=answers.pairs(MOST_PAIRS, MOST_EXAMPLES),
        mistakes=answers.mistakes(MOST_MISTAKES),
        n_sure=int(sure.sum()),
        probabilities=Probabilities(
            temperature=temperature,
            # One that was fitted is not exactly 1, as it is in older files.
            n_fitted=len(evidence.parts["val"])
            if "val" in evidence.parts and temperature != 1
            else 0,
            raw=calibration_of(logits, part.label_array),
            calibrated=calibration_of(logits, part.label_array, temperature=temperature),
        ),
        is_weighted=header.class_weights is not None,
    )


def judged_in_folder(run: Run) -> Judgement | None:
    """What the run's folder alone says of its test images; None without any."""
    found = run.facts.test
    if found is None:
        return None
    try:
        report = Report(
            split="test",
            n=int(found["n_test"]),
            loss=math.inf if found["test_loss"] is None else float(found["test_loss"]),
            confusion=np.array(found["confusion"], np.int64),
            classes=tuple(found["classes"]),
        )
    except (LookupError, ValueError, TypeError, OverflowError):  # a file of an older version
        return None
    return Judgement(report=report, pairs=pairs_of(report, MOST_PAIRS))


def newest_findings(run: Run, checks: Path = Path("checks")) -> tuple[Path | None, dict[str, int]]:
    """The page of the newest check of the same data, and how often each kind was found.

    A check is of the same data if it names the same source and has as many images, but for those
    that were left out or corrected.
    """
    files = sorted(checks.glob("*/findings.json"), key=_time_of, reverse=True)
    for path in files:
        try:
            found = json.loads(read_text(path, MAX_TEXT_SIZE))
            data = run.facts.data
            difference = abs(sum(found["n"].values()) - sum(data.n.values()))
            changed = len(data.skipped) + len(data.corrections)
            same = found["data"] == data.source and difference <= changed
            counts = {str(k): int(v) for k, v in found["counts"].items() if k in KINDS}
        except (
            FileRefusedError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ):
            continue  # not a file of ours, or it is being written
        if same:
            return path.with_name("check.html"), counts
    return None, {}


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return -math.inf
