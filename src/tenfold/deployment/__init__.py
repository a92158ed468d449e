"""The model bundle, and prediction with it."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
