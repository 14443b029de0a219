"""Worlds: seeded, procedural generators of data with exact ground truth."""
