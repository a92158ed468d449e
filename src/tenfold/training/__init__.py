"""Optimizers, schedules, training state, checkpoints, engines, and the training loop."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
