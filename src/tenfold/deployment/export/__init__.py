"""Trained models as files for other programs, checked against the model before they are written."""
