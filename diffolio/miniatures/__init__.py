"""The bundled miniatures: where their weights are, and whether they are the recorded ones."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path

from diffolio.errors import unknown

WEIGHTS = Path(__file__).parent / "weights"
RECORD = "checksums.json"
ADAPTERS = "adapters"
# Of a pipeline, a part, an adapter of a distilled student, an adapter of another miniature.
INDICES = ("model_index.json", "config.json", "student.json", "base.json")
GUIDANCE_SCALE = 4.0  # at which the miniatures are sampled unless told otherwise


def available() -> list[str]:
    """The names of the miniatures whose weights are here, sorted."""
    if not WEIGHTS.is_dir():
        return []
    folders = (path for path in WEIGHTS.iterdir() if path.is_dir())
    return sorted(path.name for path in folders if any((path / index).exists() for index in INDICES))


def folder(name: str) -> Path:
    """The folder of a miniature, in ordinary diffusers or transformers format."""
    if name not in available():
        raise unknown("miniature", name, available(), hint="`diffolio train NAME` makes one.")
    return WEIGHTS / name


def adapter(name: str) -> Path:
    """The folder of what a recipe trained and the package ships: weights, the log of the training and what made it.

    Raises: UnknownName naming the adapters that are here.
    """
    place = WEIGHTS / ADAPTERS / name
    if not place.is_dir():
        here = sorted(path.name for path in (WEIGHTS / ADAPTERS).glob("*") if path.is_dir())
        raise unknown("adapter", name, here, hint=f"`diffolio train {name}` makes one.")
    return place


def checksums(name: str) -> dict[str, str]:
    """SHA-256 of each file of a miniature, or of ``adapters/NAME``, by its path inside the folder."""
    kind, _, rest = name.partition("/")
    base = adapter(rest) if kind == ADAPTERS and rest else folder(name)
    files = sorted(path for path in base.rglob("*") if path.is_file())
    return {path.relative_to(base).as_posix(): _sha256(path) for path in files}


def recorded_checksums() -> dict[str, dict[str, str]]:
    """The checksums that the package was built with, by miniature; empty if none are recorded."""
    path = WEIGHTS / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def record_checksums() -> Path:
    """Write down the checksums of what is here now, as the reference for later checks."""
    path = WEIGHTS / RECORD
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({name: checksums(name) for name in available()}, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)
    return path


def portable(place: Path) -> None:
    """Take out of a saved model's JSON files where its parts were loaded from: it means nothing elsewhere."""
    for path in sorted(place.rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    facts = path.stat()
    return _hash(path, facts.st_mtime_ns, facts.st_size)


@functools.cache
def _hash(path: Path, modified: int, size: int) -> str:
    """Weights are asked for by many claims in one command; they are read once unless they change."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
