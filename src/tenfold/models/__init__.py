"""The models: plain modules that take flat arguments, and the table that gives them names."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
