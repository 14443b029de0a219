"""A model that draws aerial pictures under control: condition maps by name, a reference picture, metadata in the units people use."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.errors import BadInput, unknown
from diffolio.models.controlled import controlled, load_control
from diffolio.models.text import DiffolioWarning
from diffolio.worlds.earth.scene import METADATA, MOST_GSD, YEARS

if TYPE_CHECKING:
    from diffolio.models.control import ControlAdapter
    from diffolio.models.model import Model

SEGMENTATION = "segmentation"
# (offset, span) of each field: what is given plus offset, over span, lies in [0, 1] (SatMAE, arXiv:2207.08051; DiffusionSat, 2312.03606).
UNITS: dict[str, tuple[float, float]] = {
    "longitude": (180.0, 360.0), "latitude": (90.0, 180.0), "gsd": (0.0, MOST_GSD), "cloud_cover": (0.0, 1.0),
    "year": (-float(YEARS[0]), float(YEARS[1] - YEARS[0])), "month": (0.0, 12.0), "day": (0.0, 31.0),
}  # fmt: skip


def normalised(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata in degrees, metres a pixel, shares and calendar numbers, each a number or (B,), as numbers in [0, 1].

    UnknownName for another field, BadInput for a value that falls outside.
    """
    found: dict[str, Any] = {}
    for name, value in metadata.items():
        if name not in UNITS:
            raise unknown("metadata field", name, METADATA)
        offset, span = UNITS[name]
        scaled = (torch.as_tensor(value, dtype=torch.float32) + offset) / span
        if not bool(((scaled >= 0) & (scaled <= 1)).all()):
            raise BadInput(f"metadata {name}={value}: give {0.0 - offset:g} to {span - offset:g}, it is brought to [0, 1]")
        found[name] = scaled
    return found


def metadata_from(text: str) -> dict[str, float]:
    """``"cloud_cover=0.3, month=6"`` as numbers by name. BadInput for anything else."""
    found: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        try:
            found[name] = float(value if equals else "")
        except ValueError:
            raise BadInput(f"metadata {part!r}: give name=number, such as cloud_cover=0.3, month=6") from None
    return found


def condition_pictures(given: Mapping[str, Any], names: Sequence[str], height: int, width: int) -> dict[str, Tensor]:
    """Condition pictures by name, each a path or (3, H, W), as (1, 3, height, width) in [0, 1]. UnknownName for another name."""
    from diffolio.models.images import fit_size, load_image

    found = {}
    for name, picture in given.items():
        if name not in names:
            raise unknown("condition", name, names)
        loaded = load_image(picture) if isinstance(picture, (str, Path)) else picture
        found[name] = fit_size(loaded, height, width)[None]
    return found


@dataclass(frozen=True, eq=False)
class AerialControl:
    """A trained CRS-Diff at work. ``model`` is the base that the adapter belongs to."""

    model: Model
    adapter: ControlAdapter
    notes: tuple[str, ...] = ()

    @contextmanager
    def on(
        self, *, metadata: Mapping[str, Any] | None = None, content: Tensor | None = None, scales: float | Sequence[float] = 1.0,
        **conditions: Tensor,
    ) -> Iterator[Model]:  # fmt: skip
        """The model follows what is given while it samples, and is as it was afterwards, bit for bit.

        ``conditions`` by name: (B, 3, H, W) in [0, 1], or one for all; absent ones are zeros, their order does not matter.
        ``metadata``: numbers or (B,) by field, in the units of :func:`normalised`; absent fields are zeros. ``content`` (B, D): see
        :meth:`embed`. ``scales``: of the local conditions, one for all residuals or one each.
        """
        told = normalised(metadata or {})
        with controlled(self.model, self.adapter, conditions, content=content, metadata=told, scales=scales):
            yield self.model

    def sample(
        self, prompts: Sequence[str], *, seed: int | Sequence[int] = 0, steps: int = 50, guidance: float | None = None,
        suffix: str = "", negative: str = "", height: int | None = None, width: int | None = None, **told: Any,
    ) -> Tensor:  # fmt: skip
        """Pictures (B, 3, H, W), as large as the conditions; ``told`` is what :meth:`on` takes."""
        if any(not prompt.strip() for prompt in prompts) and told.get(SEGMENTATION) is None:
            warnings.warn(
                "neither a prompt nor a segmentation was given: the picture may show anything", DiffolioWarning, stacklevel=2
            )
        texts = [", ".join(filter(None, (prompt, suffix))) for prompt in prompts]
        sizes = {tuple(v.shape[-2:]) for k, v in told.items() if k in self.adapter.config.conditions and v is not None}
        if len(sizes) > 1:
            raise BadInput(f"conditions of the sizes {sorted(sizes)}: bring them to one")
        high, wide = sizes.pop() if sizes else (height, width)
        with self.on(**told) as model:
            return model.sample(
                texts, seed=seed, steps=steps, guidance_scale=guidance, negative=negative or None, height=high, width=wide
            ).images

    def embed(self, images: Tensor) -> Tensor:
        """The content embedding (B, D) of pictures (B, 3, H, W) in [0, 1], by mini-clip's copy "a", for adapters trained on it."""
        from diffolio.metrics.judge import Judge

        with torch.no_grad():
            embedded = Judge.load("a").features(images)
        if (wanted := self.adapter.config.content) != embedded.shape[1]:
            raise BadInput(
                f"this adapter reads content embeddings of {wanted} numbers, and mini-clip gives {embedded.shape[1]}: give content as "
                "the embedding by the encoder that it was trained with"
                if wanted
                else "this adapter reads no content embedding"
            )
        return embedded


def load_aerial(place: Path, name: str, model: Model | None = None, any_base: bool = False) -> AerialControl:
    """The adapter in ``place / name``, on the base in ``place`` if it brings one, else on ``model``. BadInput if neither is there."""
    from diffolio.miniatures.earth_base import EarthBase

    base, notes = EarthBase.under(place, model, "adapters")
    return AerialControl(base, load_control(place / name, base, any_base=any_base), notes)
