"""Cameras and what else is plain tensor mathematics of space: no data, no networks."""
