"""Perception methods."""
