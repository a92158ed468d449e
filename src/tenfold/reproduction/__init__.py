"""The published figures of the teaching systems, run again and compared."""
