"""Claims of the resolution family."""
