"""The command line. ``main`` turns Diffolio's own errors into one line and exit status 2."""

from diffolio.cli.app import main

__all__ = ["main"]
