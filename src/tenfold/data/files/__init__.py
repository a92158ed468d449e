"""Bytes of the known data sets' files to arrays."""
