"""The data sets that have a name: what they are, and where their files are or can be had."""
