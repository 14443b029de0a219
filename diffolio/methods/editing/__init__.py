"""Inversion and editing of given pictures."""
