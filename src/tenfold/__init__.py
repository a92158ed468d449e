"""Train small-image classifiers in seconds, and trust what they say.

Everything public is loaded when it is first used, so that `import tenfold` costs next to nothing.
"""

from tenfold._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__)
