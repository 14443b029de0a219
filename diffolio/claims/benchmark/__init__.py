"""Benchmarks: many methods beside each other on the same cases, in one run."""
