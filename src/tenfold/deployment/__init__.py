"""The model bundle, and prediction with it."""

from tenfold.deployment.bundle import Bundle, read_bundle, write_bundle
from tenfold.deployment.classifier import Classifier, Guess

__all__ = ["Bundle", "Classifier", "Guess", "read_bundle", "write_bundle"]
