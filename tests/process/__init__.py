"""Tests of the mathematics of diffusion."""
