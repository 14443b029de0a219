"""Where an edit acts: one place in a network, at one step, with the rows of the batch named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from diffolio.errors import unknown

# In joint attention diffusers' processors put the text tokens before or after the image tokens; where they stand is a
# property of the processor, written nowhere else.
IMAGE_FIRST = ("JointAttn", "FusedJointAttn", "PAGJoint", "PAGCFGJoint", "SD3IPAdapter", "HunyuanVideo", "HunyuanImage")
TEXT_FIRST = ("Flux", "FusedFlux", "AuraFlow", "FusedAuraFlow", "CogVideoX", "FusedCogVideoX", "Qwen", "Chroma", "Bria")


@dataclass(frozen=True)
class Site:
    """One module of the denoiser while it runs.

    ``kind``: "self", "cross", "joint" (text and image tokens in one sequence) or, for feature seams, "module".
    ``grid``: the cells of the image tokens, (height, width) or (frames, height, width), from the true latent size; None if
    the tokens are no such grid (merged, temporal, pooled). ``step``: index in the scheduler's timesteps, -1 if the timestep
    is none of them. ``rows``: the blocks of the batch in order, each of ``samples`` entries. ``text``: where the text tokens
    stand in joint attention (None if unknown). ``call``: how many attention calls the module made before (image-prompt
    adapters make a second one).
    """

    path: str
    kind: str
    heads: int = 0
    grid: tuple[int, ...] | None = None
    step: int = -1
    timestep: float = float("nan")
    rows: tuple[str, ...] = ("cond",)
    samples: int = 1
    text: slice | None = None
    tokens: int = 0
    call: int = 0

    def row(self, name: str) -> slice:
        """The batch entries of the row ``name``."""
        return row_slice(self.rows, self.samples, name)

    @property
    def image(self) -> slice | None:
        """Where the image tokens stand among the queries; None if unknown."""
        if self.kind != "joint":
            return slice(0, self.tokens)
        if self.text is None:
            return None
        return slice(self.text.stop, self.text.stop + self.tokens) if self.text.start == 0 else slice(0, self.tokens)


@dataclass(frozen=True)
class Place:
    """An attention module of a network at rest. ``kind`` is a guess: a run may use the module otherwise."""

    path: str
    kind: str
    heads: int

    def kind_with(self, encoder: Tensor | None) -> str:
        """The kind of attention when the module is called with these encoder states."""
        if encoder is None:
            return "self"
        return "joint" if self.kind == "joint" else "cross"


def row_slice(rows: tuple[str, ...], samples: int, name: str) -> slice:
    """The entries of the row ``name`` in a batch of ``len(rows) * samples``, row after row."""
    if name not in rows:
        raise unknown("row", name, rows)
    start = rows.index(name) * samples
    return slice(start, start + samples)


def attention_modules(denoiser: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every diffusers attention module: the old ``Attention`` and every ``AttentionModuleMixin`` take a processor."""
    for path, module in denoiser.named_modules():
        if hasattr(module, "set_processor") and hasattr(module, "processor"):
            yield path, module


def places(denoiser: nn.Module) -> list[Place]:
    """The attention modules of a network, in the order in which they are registered."""
    return [place_of(path, module) for path, module in attention_modules(denoiser)]


def place_of(path: str, module: nn.Module) -> Place:
    """Joint attention is where the text's tokens also ask queries (an image-prompt adapter only adds keys and values)."""
    if getattr(module, "add_q_proj", None) is not None:
        kind = "joint"
    else:
        kind = "cross" if getattr(module, "is_cross_attention", False) else "self"
    return Place(path, kind, int(getattr(module, "heads", 0)))


def text_slice(module: nn.Module, image: int, text: int) -> slice | None:
    """Where ``text`` text tokens stand beside ``image`` image tokens in the joint sequence; None if not known."""
    name = type(getattr(module, "processor", None)).__name__
    if name.startswith(IMAGE_FIRST):
        return slice(image, image + text)
    return slice(0, text) if name.startswith(TEXT_FIRST) else None


def grids(size: tuple[int, int], frames: int, patch: tuple[int, int, int]) -> dict[int, tuple[int, ...]]:
    """Number of tokens -> grid, for every level that a network of this patch size can have on latents of ``size`` (h, w).

    A transformer cuts the latent into patches (frames, height, width); a UNet halves with ceil at every level.
    """
    h, w, depth = size[0] // patch[1], size[1] // patch[2], frames // patch[0]
    found: dict[int, tuple[int, ...]] = {}
    while h > 0 and w > 0:
        found.setdefault(h * w, (h, w))
        if frames > 1:
            found.setdefault(depth * h * w, (depth, h, w))
        if h == w == 1:
            break
        h, w = (h + 1) // 2, (w + 1) // 2
    return found
