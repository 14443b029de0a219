"""Claims of the science family."""
