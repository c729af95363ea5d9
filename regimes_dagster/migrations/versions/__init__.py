"""The steps, in order; each is named after its revision."""
