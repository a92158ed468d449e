"""Metrics as pure functions, and a pass over data without gradients."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
