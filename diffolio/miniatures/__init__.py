"""The bundled miniatures: where their weights are, and whether they are the recorded ones."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from diffolio.errors import unknown

WEIGHTS = Path(__file__).parent / "weights"
RECORD = "checksums.json"
ADAPTERS = "adapters"
BASELINES = (
    "mini-lcm", "adapters/crs_diff/clouds", "adapters/crs_diff/road", "adapters/crs_diff/segmentation", "adapters/effived/still",
    "adapters/eocnet/baseline", "adapters/hand_to_diffusion/single", "adapters/img2img_turbo/no_skips", "adapters/layerdiff/baseline",
    "adapters/lightit/control_nl", "adapters/lightit/relight_plain", "adapters/zippo/matting_only",
)  # fmt: skip
"""Folders that only a claim compares with: a clone has them, the wheel leaves them out."""
BASELINES_RECORD = "baselines.json"
# Of a pipeline, a part, an adapter of a distilled student, an adapter of another miniature.
INDICES = ("model_index.json", "config.json", "student.json", "base.json")
TRAINING, LOG = "training.json", "training.csv"
"""How a miniature was made, beside its weights; no part of what it is, and so of no checksum."""
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
    """SHA-256 of each file of a miniature, or of ``adapters/NAME``, by its path inside the folder.

    A baseline that is not here counts with its recorded checksums, so that evidence is as fresh in a wheel as in a clone.
    """
    absent = missing_baselines(name)
    if name in absent:
        return _read(WEIGHTS / BASELINES_RECORD).get(name, {})
    kind, _, rest = name.partition("/")
    if kind != ADAPTERS or not rest:
        return {file: digest for file, digest in _sums(folder(name)).items() if file not in (TRAINING, LOG)}
    found = _sums(adapter(rest))
    if absent:
        recorded = _read(WEIGHTS / BASELINES_RECORD)
        for part in absent:
            found |= {f"{part.removeprefix(f'{name}/')}/{file}": digest for file, digest in recorded.get(part, {}).items()}
    return dict(sorted(found.items()))


def missing_baselines(name: str) -> list[str]:
    """Of a miniature or of ``adapters/NAME``, the baselines that are not here, as in a package from the wheel."""
    return [part for part in BASELINES if (part == name or part.startswith(f"{name}/")) and not (WEIGHTS / part).is_dir()]


def recorded_checksums() -> dict[str, dict[str, str]]:
    """The checksums that the package was built with, by miniature; empty if none are recorded."""
    return _read(WEIGHTS / RECORD)


def record_checksums() -> Path:
    """Write down the checksums of what is here now, as the reference for later checks."""
    path = WEIGHTS / RECORD
    _write(path, {name: checksums(name) for name in available()})
    here = [part for part in BASELINES if (WEIGHTS / part).is_dir()]
    if here:
        _write(WEIGHTS / BASELINES_RECORD, {part: _sums(WEIGHTS / part) for part in here})
    return path


def training(name: str) -> dict[str, Any]:
    """How a miniature was trained (command, steps, seconds, seed, versions); empty if that was not kept."""
    path = folder(name) / TRAINING
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def portable(place: Path) -> None:
    """Take out of a saved model's JSON files where its parts were loaded from: it means nothing elsewhere."""
    for path in sorted(place.rglob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _sums(base: Path) -> dict[str, str]:
    files = sorted(path for path in base.rglob("*") if path.is_file())
    return {path.relative_to(base).as_posix(): _sha256(path) for path in files}


def _read(path: Path) -> dict[str, dict[str, str]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _write(path: Path, content: dict[str, dict[str, str]]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)


def _sha256(path: Path) -> str:
    facts = path.stat()
    return _hash(path, facts.st_mtime_ns, facts.st_size)


@functools.cache
def _hash(path: Path, modified: int, size: int) -> str:
    """Weights are asked for by many claims in one command; they are read once unless they change."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
