"""Metrics as pure functions, and gradient-free passes over data."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
