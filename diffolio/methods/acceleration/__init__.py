"""Acceleration: fewer steps, cheaper steps, and how fast models are trained."""
