"""The model bundle, and prediction with it."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.deployment.bundle import Bundle, read_bundle, write_bundle
    from tenfold.deployment.classifier import Classifier, Guess
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Bundle": "tenfold.deployment.bundle",
            "Classifier": "tenfold.deployment.classifier",
            "Guess": "tenfold.deployment.classifier",
            "read_bundle": "tenfold.deployment.bundle",
            "write_bundle": "tenfold.deployment.bundle",
        },
    )

__all__ = ["Bundle", "Classifier", "Guess", "read_bundle", "write_bundle"]
