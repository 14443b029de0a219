"""Claims of the editing family."""
