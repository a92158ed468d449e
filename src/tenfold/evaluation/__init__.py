"""Metrics as pure functions, and a pass over data without gradients."""

from tenfold.evaluation.evaluate import evaluate, evaluate_accuracy, predict_logits
from tenfold.evaluation.metrics import (
    ClassFigures,
    class_figures,
    confusion_matrix,
    wilson_interval,
)
from tenfold.evaluation.report import Report

__all__ = [
    "ClassFigures",
    "Report",
    "class_figures",
    "confusion_matrix",
    "evaluate",
    "evaluate_accuracy",
    "predict_logits",
    "wilson_interval",
]
