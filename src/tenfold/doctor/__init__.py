"""What it takes a search or a training to find: near duplicates, and labels that may be wrong."""
