"""Output for people: lines and tables on a terminal, plots, reports."""
