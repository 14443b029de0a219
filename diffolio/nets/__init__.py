"""Blocks that diffusers lacks: token merging, small score networks, reward models."""
