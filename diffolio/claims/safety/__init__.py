"""Claims of the safety family."""
