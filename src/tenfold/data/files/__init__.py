"""Readers for the file formats of the known data sets."""
