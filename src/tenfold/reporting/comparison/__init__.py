"""Runs side by side, for people: as text and as a page. Importing this imports nothing else."""
