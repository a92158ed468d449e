"""Metrics as pure functions, and a pass over data without gradients."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.evaluation.metrics import (
        ClassFigures,
        class_figures,
        confusion_matrix,
        wilson_interval,
    )
    from tenfold.evaluation.passes import evaluate, evaluate_accuracy, predict_logits
    from tenfold.evaluation.report import Report
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "ClassFigures": "tenfold.evaluation.metrics",
            "Report": "tenfold.evaluation.report",
            "class_figures": "tenfold.evaluation.metrics",
            "confusion_matrix": "tenfold.evaluation.metrics",
            "evaluate": "tenfold.evaluation.passes",
            "evaluate_accuracy": "tenfold.evaluation.passes",
            "predict_logits": "tenfold.evaluation.passes",
            "wilson_interval": "tenfold.evaluation.metrics",
        },
    )

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
