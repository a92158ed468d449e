"""Models: plain modules with flat arguments, and the table of their names."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
