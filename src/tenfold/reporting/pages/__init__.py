"""Pages of HTML that open anywhere: all that they show is in them."""
