"""A model of clips that was taught to follow instructions: what it ships, and how it goes onto its base and comes off again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from diffolio.errors import BadInput
from diffolio.models.swapped import load_weights, save_weights, swapped
from diffolio.nets.source_columns import first_layer, source_columns, taken
from diffolio.seams.two_way import two_way

if TYPE_CHECKING:
    from diffolio.models.model import Model

COLUMNS = "source_columns"
TEMPORAL = ("temporal_", "temp_", "transformer_in")
LIGHT = (".attn", "caption_projection", "scale_shift_table", "proj_out.", "conv_out.")


@dataclass(frozen=True)
class Instructed:
    """``columns``: the first layer's weights for the source; ``weights``: what else of the network was trained, by name."""

    columns: Tensor
    weights: Mapping[str, Tensor]
    about: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def on(self, model: Model, source: Tensor, s_video: float = 1.5, s_text: float = 7.5) -> Iterator[Model]:
        """The model edits the clip with latents ``source`` (B, C, T, h, w) inside: give ``Model.sample`` the instruction, a guidance
        scale above 1 (two-way guidance takes its place) and its initial latents. Afterwards it is the base, bit for bit."""
        with swapped(model.denoiser, self.weights), source_columns(model.denoiser, self.columns):
            with two_way(model.seams, source, s_video, s_text):
                yield model

    def save(self, folder: Path, model: Model) -> Path:
        """Write float16 safetensors and a record; ``model`` is the untouched base."""
        return save_weights(folder, model, {**self.weights, COLUMNS: self.columns}, self.about)


def load_instructed(folder: str | Path, model: Model, any_base: bool = False) -> Instructed:
    """What ``Instructed.save`` wrote; BadInput for another base (``any_base`` lifts that)."""
    weights, about = load_weights(folder, model, any_base)
    if COLUMNS not in weights:
        raise BadInput(f"{folder} holds trained weights without {COLUMNS}: it was not trained to read a source")
    return Instructed(weights.pop(COLUMNS), weights, about)


def trainable_parts(denoiser: Any, which: str) -> dict[str, nn.Parameter]:
    """The weights that train, by name; all others are frozen.

    "all"; "attention", with the text's projection, the modulation tables and the last layer; or "temporal", the layers over time. The
    first layer, which reads the source, always trains.
    """
    denoiser.requires_grad_(False).train()
    holder, name = first_layer(denoiser)
    first = {id(p) for p in getattr(holder, name).parameters()}
    marks = {"temporal": TEMPORAL, "attention": LIGHT, "all": ("",)}[which]
    chosen = {n: p for n, p in denoiser.named_parameters() if id(p) in first or any(mark in n for mark in marks)}
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def collected(denoiser: Any, chosen: Mapping[str, nn.Parameter], wide: Tensor) -> Instructed:
    """What was trained, out of a network that still has its source columns."""
    weights = {n: (p[:, : p.shape[1] // 2] if p is wide else p).detach().clone() for n, p in chosen.items()}
    return Instructed(taken(wide), weights)
