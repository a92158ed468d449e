"""Whole runs: from a recipe and data to a folder with a trained and evaluated model, and back."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
