"""Claims of the acceleration family."""
