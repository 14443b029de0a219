"""Methods: the runnable forms of papers, one module each."""
