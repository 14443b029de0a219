"""Tests of the handle on a pipeline."""
