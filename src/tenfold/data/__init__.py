"""From files to arrays: readers, the catalog, the in-memory data set, loading."""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
