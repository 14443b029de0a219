"""Pairs of clips before and after an instruction, made of what is easy to get: edits of pictures, and clips that nobody edited.

EffiVED (Zhang et al., 2024, arXiv:2403.11568) trains a video editor without a single edited video:

    A   a picture and its edit follow one camera path:              source_t = S(A_t p),  target_t = T(A_t p)
    B   of a clip one key frame (or a few) is edited as a picture;
        the clip's own flow brings the edit to every frame:         target_t(p) = T_key(p + f_{t -> key}(p))

What the key does not show is asked of the next key, and stays as it is in the source if none shows it. Of B only those pairs are kept
that pass the filters: the change lies inside the thing that was named, hardly anything of it is left undone, the edited clip is as
steady as its source, and picture and caption change in one direction (CLIP).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.geometry.camera_paths import follow, random_path, still_path
from diffolio.geometry.warping import fetch
from diffolio.metrics.temporal import warp_error

if TYPE_CHECKING:
    from diffolio.metrics.judge import Judge

CHANGED = 6 / 255  # what is changed at all
AGREES = 10 / 255  # as near is a pixel that was brought along the flow to the frame's own


@dataclass(frozen=True)
class ImageEdit:
    """``source`` and ``target`` (3, H, W) in [0, 1] of one size, and what turns one into the other."""

    source: Tensor
    target: Tensor
    instruction: str


@dataclass(frozen=True)
class VideoEdit:
    """A clip (T, 3, H, W), key frames of it edited as pictures, and how to get from each frame to them.

    ``keys`` frame -> edited key (3, H, W); ``flows`` frame -> (T, 2, H, W), from every frame to that key in pixels; ``hidden`` frame ->
    bool (T, H, W), what the key does not show. ``named`` bool (K, H, W) in the keys' order: where the thing that the instruction
    names is, None if it is the whole picture. ``captions`` before and after, for the judge.
    """

    frames: Tensor
    keys: dict[int, Tensor]
    flows: dict[int, Tensor]
    hidden: dict[int, Tensor]
    instruction: str
    named: Tensor | None = None
    captions: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Filters:
    """What pairs from clips must pass.

    ``outside``: largest share of the change that lies outside of the named thing; ``undone``: of the clip that no key could tell, where
    all of the picture changes; ``unsteady``: warp error of the edited clip over the source's, beside what resampling costs;
    ``direction``: least cosine of the picture's and the caption's change.
    """

    outside: float = 0.02
    undone: float = 0.02
    unsteady: float = 2.0
    direction: float = 0.0


@dataclass
class Triples:
    """Sources and targets (N, T, 3, H, W) uint8, instructions, and where each pair is from: "image", "still" or "video". ``dropped`` counts
    what the filters refused, by reason."""

    sources: Tensor
    targets: Tensor
    instructions: list[str]
    origins: list[str]
    fps: float = 8.0
    dropped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.sources.shape != self.targets.shape or self.sources.dim() != 5:
            raise BadInput(
                f"sources of shape {tuple(self.sources.shape)} and targets of {tuple(self.targets.shape)}: source and target of a pair "
                "have the same number of frames and the same size, (N, T, 3, H, W)"
            )
        if self.sources.shape[1] < 2:
            raise BadInput("clips of one frame: give at least 2")
        if len(self.instructions) != len(self.sources) or not all(text.strip() for text in self.instructions):
            raise BadInput(
                f"{len(self.instructions)} instructions for {len(self.sources)} pairs: give one each, none of them empty"
            )

    def __len__(self) -> int:
        return len(self.sources)

    def where(self, *origins: str) -> Triples:
        """The pairs of these origins."""
        index = [i for i, origin in enumerate(self.origins) if origin in origins]
        if not index:
            raise BadInput(f"no pair is from {' or '.join(origins)}: there are {', '.join(sorted(set(self.origins)))}")
        texts = [self.instructions[i] for i in index]
        return Triples(self.sources[index], self.targets[index], texts, [self.origins[i] for i in index], self.fps)


def from_images(
    edits: Sequence[ImageEdit], frames: int, size: int, generator: torch.Generator, still: float = 0.1,
) -> list[tuple[Tensor, Tensor, str, str]]:  # fmt: skip
    """Data A: every edit along a camera path of its own, one and the same for source and target; a share ``still`` without motion."""
    pairs = []
    for edit in edits:
        if edit.source.shape != edit.target.shape:
            raise BadInput(f"a picture of {tuple(edit.source.shape)} and its edit of {tuple(edit.target.shape)}: give one size")
        moves = float(torch.rand((), generator=generator)) >= still
        path = random_path(frames, generator)
        path = path if moves else still_path(frames)
        both = follow(torch.cat([edit.source, edit.target]), path, size)
        pairs.append((both[:, :3], both[:, 3:], edit.instruction, "image" if moves else "still"))
    return pairs


def propagate(edit: VideoEdit) -> tuple[Tensor, Tensor]:
    """Data B: the edited clip (T, 3, H, W), and bool (T, H, W) what no key could tell (there it is the source).

    A key is believed first where its *source*, brought along the same flow, is the frame's own pixel: at the rims of things, which are
    mixed with what lies behind, another key may know better.
    """
    edited, unknown = edit.frames.clone(), torch.ones_like(edit.frames[:, 0], dtype=torch.bool)

    def brought(picture: Tensor, key: int) -> Tensor:
        return fetch(picture.expand(len(edit.frames), -1, -1, -1), edit.flows[key])

    agrees = {key: (brought(edit.frames[key], key) - edit.frames).abs().amax(1) < AGREES for key in edit.keys}
    for believed in (agrees, {key: ~edit.hidden[key] for key in edit.keys}):
        for key, picture in edit.keys.items():
            told = unknown & ~edit.hidden[key] & believed[key]
            edited = torch.where(told[:, None], brought(picture, key), edited)
            unknown = unknown & ~told
    return edited, unknown


def refused(edit: VideoEdit, edited: Tensor, unknown: Tensor, filters: Filters, judge: Judge | None = None) -> str:
    """Why a pair is not kept: "outside", "undone", "unsteady", "direction"; empty if it is."""
    keys = list(edit.keys)
    change = torch.stack([(edit.keys[k] - edit.frames[k]).abs().amax(0) > CHANGED for k in keys])
    if not bool(change.any()):
        return "nothing changes"
    if edit.named is not None:
        near = F.max_pool2d(edit.named.float()[:, None], 5, stride=1, padding=2)[:, 0] > 0  # anti-aliased edges are its own
        if float((change & ~near).sum() / change.sum()) > filters.outside:
            return "outside"
    # What no key showed is right as it is in the source, unless all of the picture changes.
    if float(change.float().mean()) > 0.5 and float(unknown.float().mean()) > filters.undone:
        return "undone"
    key = keys[0]
    steps = [(t, t + 1) for t in range(len(edited) - 1) if key in (t, t + 1)]
    for t, u in steps:
        other = u if t == key else t
        flow, hidden = edit.flows[key][other : other + 1], edit.hidden[key][other : other + 1]
        # Two frames, the one that is not the key first: the flow leads from it to the key.
        errors = [float(warp_error(clip[[other, key]], flow, hidden)) for clip in (edited, edit.frames)]
        if errors[0] > filters.unsteady * errors[1] + 1e-3:
            return "unsteady"
    if judge is not None and all(edit.captions):
        seen = judge.features(torch.stack([edit.frames[key], edit.keys[key]]).clamp(0, 1))
        said = judge.text(list(edit.captions))
        if float(torch.cosine_similarity(seen[1] - seen[0], said[1] - said[0], dim=0)) < filters.direction:
            return "direction"
    return ""


@torch.no_grad()
def build_triples(
    image_edits: Sequence[ImageEdit] = (), videos: Sequence[VideoEdit] = (), *, frames: int = 8, size: int = 64, seed: int = 0,
    still: float = 0.1, filters: Filters | None = None, judge: Judge | None = None, fps: float = 8.0,
) -> Triples:  # fmt: skip
    """Training pairs from edits of pictures (A) and from clips (B). BadInput if nothing is left."""
    generator = torch.Generator().manual_seed(seed)
    pairs = from_images(image_edits, frames, size, generator, still)
    dropped: dict[str, int] = {}
    for video in videos:
        if len(video.frames) != frames or video.frames.shape[-2:] != (size, size):
            raise BadInput(f"a clip of {tuple(video.frames.shape)}: give {frames} frames of {size}x{size} pixels")
        edited, unknown = propagate(video)
        if why := refused(video, edited, unknown, filters or Filters(), judge):
            dropped[why] = dropped.get(why, 0) + 1
        else:
            pairs.append((video.frames, edited, video.instruction, "video"))
    if not pairs:
        raise BadInput(f"no pair is left to train on (dropped: {dropped or 'none'}): give more edits, or looser filters")
    sources, targets = (torch.stack([(p[i].clamp(0, 1) * 255).round().byte() for p in pairs]) for i in (0, 1))  # type: ignore[union-attr]
    return Triples(sources, targets, [p[2] for p in pairs], [p[3] for p in pairs], fps, dropped)
