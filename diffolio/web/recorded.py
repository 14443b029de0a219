"""The recorded evidence, read once while it does not change on disk: telling whether it is stale takes a look at all the code."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from diffolio.claims.evidence import evidence_folder, load_evidence, subjects


def evidence(name: str) -> dict[str, Any] | None:
    """The evidence of a method or a bundled model by name; None where there is none."""
    path = _files().get(name)
    try:
        return _read(name, path.stat().st_mtime_ns) if path is not None else None
    except FileNotFoundError:
        return None


def names() -> list[str]:
    """Everything that may have a claim."""
    return list(_files())


@functools.cache
def _files() -> dict[str, Path]:
    return {name: evidence_folder() / about.family / f"{name}.json" for name, about in subjects().items()}


@functools.lru_cache(maxsize=1000)
def _read(name: str, modified: int) -> dict[str, Any] | None:
    found = load_evidence(name)
    return None if found is None else {**found, "family": _files()[name].parent.name, "name": name}
