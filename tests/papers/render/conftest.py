from __future__ import annotations

from pathlib import Path

import pytest

from diffolio.papers.issue import Digest
from tests.papers.render import made


@pytest.fixture(scope="session")
def issue(tmp_path_factory: pytest.TempPathFactory) -> Digest:
    """An issue with every kind of entry and one paper whose every text is an attack."""
    folder: Path = tmp_path_factory.mktemp("library")
    with made.library(folder) as library:
        return made.digest(library)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Digest:
    """An issue of a window in which nothing happened."""
    with made.library(tmp_path_factory.mktemp("library")) as library:
        return made.digest(library, first="2019-01-01", last="2019-01-07")
