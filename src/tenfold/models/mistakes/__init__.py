"""Explanations of common mistakes in a learner's network and loop; start at `explaining`."""
