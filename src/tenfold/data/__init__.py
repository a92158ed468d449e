"""Data: file readers, the catalog, the in-memory data set, and the loader."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
