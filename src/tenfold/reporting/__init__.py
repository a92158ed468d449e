"""What a person looks at: lines and tables on a terminal, plots, reports."""
