"""Claims of the perception family."""
