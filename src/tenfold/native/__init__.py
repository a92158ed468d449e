"""Compiled kernels behind a small C interface, in libraries that are loaded on first use."""
