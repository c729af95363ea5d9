"""One module per tab: which panels it has and how each is built from the tables."""
