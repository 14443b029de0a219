"""The five real digests, where they are at hand: they are not part of the package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("DIFFOLIO_SEEDS", Path(__file__).parents[3] / "shared" / "seeds"))
NAMES = ("000", "001", "002", "003", "004")


def seed_path(name: str) -> Path:
    """The file of seed ``000`` .. ``004``; skips the test where the seeds are absent."""
    found = sorted(FOLDER.glob(f"{name}_*.txt"))
    if not found:
        pytest.skip(f"the seed digests are not at {FOLDER} (set DIFFOLIO_SEEDS to their folder)")
    return found[0]


def seed(name: str) -> bytes:
    return seed_path(name).read_bytes()
