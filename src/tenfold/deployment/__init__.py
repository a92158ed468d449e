"""The model bundle, and prediction with it."""

from typing import TYPE_CHECKING

from tenfold._lazy import lazy_names

if TYPE_CHECKING:
    from tenfold.deployment.bundle import Bundle as Bundle
    from tenfold.deployment.bundle import read_bundle as read_bundle
    from tenfold.deployment.bundle import write_bundle as write_bundle
    from tenfold.deployment.classifier import Classifier as Classifier
    from tenfold.deployment.classifier import Guess as Guess
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "tenfold.deployment.bundle": ["Bundle", "read_bundle", "write_bundle"],
            "tenfold.deployment.classifier": ["Classifier", "Guess"],
        },
    )
