"""Optimizers, schedules, the state of a run, its checkpoints, and one visible loop."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
