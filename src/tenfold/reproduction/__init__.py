"""Rerun the teaching systems and compare with their published figures."""
