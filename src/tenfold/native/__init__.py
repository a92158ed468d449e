"""Compiled kernels behind a small C interface, in libraries that are loaded at first use."""
