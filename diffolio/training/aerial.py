"""Aerial pictures with conditions, metadata and content embeddings, and batches that see random subsets of them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.aerial import normalised
from diffolio.training.condition_drop import DropSchedule, keep_samples
from diffolio.worlds.earth.scene import METADATA

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.training.control import Drawn

CONTENT = "content"


@dataclass(frozen=True)
class AerialPictures:
    """Pictures to train on. ``rgb`` uint8 (N, 3, H, W); ``conditions`` by name, each uint8 (N, 3, H, W); ``caption(i, rng)``;
    ``metadata`` (N, 7) in [0, 1], in the order of ``METADATA``; ``content`` (N, D), embeddings of the pictures, or None."""

    rgb: Tensor
    conditions: Mapping[str, Tensor]
    caption: Callable[[int, random.Random], str]
    metadata: Tensor
    content: Tensor | None = None

    def __post_init__(self) -> None:
        if self.rgb.dim() != 4 or not len(self.rgb):
            raise BadInput(f"pictures of shape {tuple(self.rgb.shape)}: give (N, 3, H, W) with at least one")
        for name, condition in self.conditions.items():
            if condition.shape != self.rgb.shape:
                raise BadInput(f"condition {name} of shape {tuple(condition.shape)}: the pictures are {tuple(self.rgb.shape)}")
        if self.metadata.shape != (len(self.rgb), len(METADATA)):
            raise BadInput(f"metadata of shape {tuple(self.metadata.shape)}: give {(len(self.rgb), len(METADATA))}")
        if self.content is not None and (self.content.dim() != 2 or len(self.content) != len(self.rgb)):
            raise BadInput(f"content of shape {tuple(self.content.shape)}: give ({len(self.rgb)}, width)")

    def __len__(self) -> int:
        return len(self.rgb)

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which pictures (batch,), and which of them to mirror, bool (batch,)."""
        return torch.randint(len(self), (batch,), generator=generator), torch.rand(batch, generator=generator) < 0.5

    def images(self, index: Tensor, mirrored: Tensor) -> Tensor:
        """(batch, 3, H, W) in [0, 1]."""
        return _mirrored(self.rgb[index].float() / 255, mirrored)

    def condition(self, name: str, index: Tensor, mirrored: Tensor) -> Tensor:
        return _mirrored(self.conditions[name][index].float() / 255, mirrored)


@dataclass(frozen=True)
class AerialBatches:
    """Batches for ``ControlTraining``: of the named conditions, metadata fields and the content each sample sees what ``schedule``
    lets it keep (all of it if None); what is not kept is zero. ``textless`` of the captions are left out."""

    model: Model
    data: AerialPictures
    conditions: Sequence[str] = ()
    fields: Sequence[str] = ()
    content: bool = False
    schedule: DropSchedule | None = None
    textless: float = 0.5

    def __call__(self, batch: int, generator: torch.Generator) -> Drawn:
        index, mirrored = self.data.draw(batch, generator)
        keep = self.schedule.draw(batch, generator) if self.schedule is not None else {}
        everything = torch.ones(batch, dtype=torch.bool)
        conditions = {
            name: keep_samples(self.data.condition(name, index, mirrored), keep.get(name, everything)) for name in self.conditions
        }
        more: dict[str, Any] = {}
        if self.fields:
            columns = {name: self.data.metadata[index, METADATA.index(name)] for name in self.fields}
            more["metadata"] = {name: keep_samples(column, keep.get(name, everything)) for name, column in columns.items()}
        if self.content:
            assert self.data.content is not None
            more |= {"content": self.data.content[index], "content_kept": keep.get(CONTENT, everything)}
        rng = random.Random(int(torch.randint(2**31, (1,), generator=generator)))
        captions = ["" if rng.random() < self.textless else self.data.caption(i, rng) for i in index.tolist()]
        with torch.no_grad():
            latents = self.model.encode(self.data.images(index, mirrored).to(self.model.device))
        return latents, captions, conditions, more


def schedule_of(
    conditions: Mapping[str, float], fields: Sequence[str], drop_field: float, drop_content: float, keep_all: float, drop_all: float
) -> DropSchedule:  # fmt: skip
    """One schedule for everything that is dropped but the text: local conditions by their own probabilities, each field of the
    metadata and the content by theirs."""
    drop = {**conditions, **dict.fromkeys(fields, drop_field), CONTENT: drop_content}
    return DropSchedule(drop, keep_all, drop_all)


def earth_pictures(n: int, seed: int, size: int, names: Sequence[str], content: bool = True, batch: int = 64) -> AerialPictures:
    """``n`` scenes of the earth world; content is the embedding of mini-clip's copy "a". Captions are redrawn at every use."""
    from diffolio.metrics.judge import Judge
    from diffolio.worlds.earth import caption, conditions, render, sample_scenes

    scenes = sample_scenes(n, seed)
    rgb, metadata, embedded = [], [], []
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for start in range(0, n, batch):
        drawn = render(scenes[start : start + batch], size)
        rgb.append(_bytes(drawn.images))
        metadata.append(drawn.metadata)
        made = conditions(drawn)
        for name in names:
            found[name].append(_bytes(made[name]))
        if content:
            with torch.no_grad():
                embedded.append(Judge.load("a").features(drawn.images))
    return AerialPictures(
        torch.cat(rgb), {name: torch.cat(parts) for name, parts in found.items()}, lambda i, rng: caption(scenes[i], rng),
        torch.cat(metadata), torch.cat(embedded) if content else None,
    )  # fmt: skip


def aerial_folder(folder: Path, size: int, names: Sequence[str]) -> AerialPictures:
    """A user's pictures: NAME.png with its caption in NAME.txt, each condition in ``folder/<condition>/NAME.png`` (black where it is
    missing), and, if there is any, metadata in NAME.json ({"cloud_cover": 0.3, "month": 6}) and a content embedding (D,) in NAME.npy."""
    import numpy as np

    from diffolio.models.images import fit_size, load_image
    from diffolio.training.data import captioned_folder

    captioned = captioned_folder(folder)
    rgb = torch.stack([_bytes(fit_size(captioned[i][0], size, size)) for i in range(len(captioned))])
    found: dict[str, Tensor] = {}
    for name in names:
        planes = torch.zeros_like(rgb)
        for i, path in enumerate(captioned.paths):
            if (beside := folder / name / f"{path.stem}.png").exists():
                planes[i] = _bytes(fit_size(load_image(beside), size, size))
        found[name] = planes
    if names and not any(bool(planes.any()) for planes in found.values()):
        raise BadInput(f"{folder} holds no condition: put pictures of the same names into {folder}/{names[0]} and so on")
    metadata = torch.zeros(len(rgb), len(METADATA))
    for i, path in enumerate(captioned.paths):
        if (beside := path.with_suffix(".json")).exists():
            for field, value in normalised(json.loads(beside.read_text(encoding="utf-8"))).items():
                metadata[i, METADATA.index(field)] = value
    vectors = [path.with_suffix(".npy") for path in captioned.paths]
    there = [path.exists() for path in vectors]
    if any(there) and not all(there):
        raise BadInput(
            f"{there.count(False)} of {len(there)} pictures have no content embedding NAME.npy: give one for each, or none"
        )
    content = torch.stack([torch.from_numpy(np.load(path)).float() for path in vectors]) if all(there) else None
    return AerialPictures(rgb, found, lambda i, rng: captioned.captions[i], metadata, content)


def _mirrored(images: Tensor, mirrored: Tensor) -> Tensor:
    return torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).byte()
