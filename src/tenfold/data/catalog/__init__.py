"""The catalog of known data sets: facts about them, and where to find or download their files."""
