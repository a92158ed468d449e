"""The version, where neither an import nor an installation is needed to read it."""

__version__ = "0.1.0"
