"""Pictures to train a translator on: two domains without pairs, or pairs; from the tabletop world or from a user's folders.

In a folder the pictures lie in ``a`` and ``b``. Pairs have the same name in both, and the caption of the outcome in a text file of
that name in ``b``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.miniatures.vae import TRAIN_SEED
from diffolio.models.images import fit_size, load_image
from diffolio.training.data import SUFFIXES
from diffolio.worlds.tabletop import Mixture, render, sample_scenes

DAY_NIGHT = ("a picture", "a picture at night")
PLAIN = Mixture(counts=(0.5, 0.5, 0.0), plain=1.0, flat=1.0, canonical=True, in_front=0.0)


@dataclass(frozen=True, eq=False)
class Domains:
    """Pictures of two domains, (N, 3, H, W) and (M, 3, H, W), bytes, and the fixed caption of either. Nothing belongs together."""

    a: Tensor
    b: Tensor
    captions: tuple[str, str]

    def __post_init__(self) -> None:
        _check(self.a, "a")
        _check(self.b, "b")
        if len(self.captions) != 2 or not all(isinstance(text, str) and text.strip() for text in self.captions):
            raise BadInput(f"captions {tuple(self.captions)}: give what the pictures of either domain show, two texts")

    def draw(self, batch: int, generator: torch.Generator, crop: int | None = None) -> tuple[Tensor, Tensor]:
        """``batch`` of each at random, independently, float in [0, 1]; cut to ``crop`` pixels at random and mirrored at random."""
        picked = [x[torch.randint(len(x), (batch,), generator=generator)] for x in (self.a, self.b)]
        return tuple(_augmented([x], generator, crop)[0] for x in picked)  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Inputs and outcomes, (N, 3, H, W) bytes each, and the outcomes' captions."""

    inputs: Tensor
    outcomes: Tensor
    captions: tuple[str, ...]

    def __post_init__(self) -> None:
        _check(self.inputs, "inputs")
        _check(self.outcomes, "outcomes")
        if self.inputs.shape != self.outcomes.shape or len(self.captions) != len(self.inputs):
            raise BadInput(
                f"inputs {tuple(self.inputs.shape)}, outcomes {tuple(self.outcomes.shape)}, {len(self.captions)} captions: "
                "give one outcome of the same size and one caption for each input"
            )

    def draw(self, batch: int, generator: torch.Generator, crop: int | None = None) -> tuple[Tensor, Tensor, list[str]]:
        """``batch`` pairs, float in [0, 1], cut at the same place; not mirrored, as captions say left and right."""
        index = torch.randint(len(self.inputs), (batch,), generator=generator)
        inputs, outcomes = _augmented([self.inputs[index], self.outcomes[index]], generator, crop, mirror=False)
        return inputs, outcomes, [self.captions[i] for i in index.tolist()]


def tabletop_domains(n: int, size: int, seed: int = 0, captions: tuple[str, str] = DAY_NIGHT) -> Domains:
    """``n`` scenes by day and ``n`` *other* scenes by night, of one and two things on plain grounds."""
    day, night = (sample_scenes(n, k * TRAIN_SEED + seed, PLAIN) for k in (12, 13))
    return Domains(_drawn(day, size), _drawn([replace(scene, style="night") for scene in night], size), captions)


def tabletop_pairs(n: int, size: int, seed: int = 0) -> Pairs:
    """``n`` scenes and their edges, with their captions."""
    scenes = sample_scenes(n, 14 * TRAIN_SEED + seed, PLAIN)
    outcomes = _drawn(scenes, size)
    inputs = torch.cat([_bytes(edges(part.float() / 255)) for part in outcomes.split(256)])
    return Pairs(inputs, outcomes, tuple(scene.caption for scene in scenes))


def edges(images: Tensor, gain: float = 4.0) -> Tensor:
    """White lines on black (B, 3, H, W) where pictures (B, 3, H, W) change: Sobel's gradient, the largest of the three colours'."""
    from kornia.filters import sobel

    return (gain * sobel(images)).amax(1, keepdim=True).clamp(0, 1).expand(-1, 3, -1, -1)


def folder_domains(folder: Path, size: int, captions: Sequence[str]) -> Domains:
    """The pictures of ``folder/a`` and ``folder/b``, cropped to squares of ``size`` pixels."""
    a, b = (torch.stack([_square(path, size) for path in _pictures(folder / name)]) for name in ("a", "b"))
    return Domains(a, b, tuple(captions))  # type: ignore[arg-type]


def folder_pairs(folder: Path, size: int) -> Pairs:
    """Pairs of the same name in ``folder/a`` and ``folder/b`` with ``folder/b/NAME.txt``, cropped to squares of ``size`` pixels."""
    inputs, outcomes = ({path.stem: path for path in _pictures(folder / name)} for name in ("a", "b"))
    if alone := sorted(set(inputs) ^ set(outcomes)):
        raise BadInput(f"{folder}: {len(alone)} pictures have no partner ({alone[0]} first): pairs have the same name in a and b")
    captions = []
    for name, path in outcomes.items():
        try:
            captions.append(path.with_suffix(".txt").read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path} has no caption ({error}): put what it shows into {name}.txt beside it") from error
    drawn = [torch.stack([_square(group[name], size) for name in outcomes]) for group in (inputs, outcomes)]
    return Pairs(drawn[0], drawn[1], tuple(captions))


def _drawn(scenes: list, size: int) -> Tensor:  # type: ignore[type-arg]
    return torch.cat([_bytes(render(scenes[i : i + 256], size).images) for i in range(0, len(scenes), 256)])


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().byte()


def _square(path: Path, size: int) -> Tensor:
    return _bytes(fit_size(load_image(path), size, size))


def _pictures(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise BadInput(f"{folder} holds no picture: give a folder with pictures ({', '.join(SUFFIXES)}) in a and in b")
    return found


def _augmented(groups: list[Tensor], generator: torch.Generator, crop: int | None, mirror: bool = True) -> list[Tensor]:
    """The same cut and mirroring for every group of pictures (B, 3, H, W), drawn anew for each picture."""
    height, width = groups[0].shape[-2:]
    crop_h, crop_w = (height, width) if crop is None else (crop, crop)
    if crop_h > height or crop_w > width:
        raise BadInput(f"crop {crop} of pictures of {width}x{height}: give at most their size")
    n = len(groups[0])
    top = torch.randint(height - crop_h + 1, (n,), generator=generator)
    left = torch.randint(width - crop_w + 1, (n,), generator=generator)
    flip = torch.rand(n, generator=generator) < (0.5 if mirror else 0.0)
    rows = top[:, None] + torch.arange(crop_h)
    columns = left[:, None] + torch.arange(crop_w)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    which = torch.arange(n)[:, None, None]
    return [x.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2).float() / 255 for x in groups]


def _check(pictures: Tensor, what: str) -> None:
    if pictures.dim() != 4 or pictures.shape[1] != 3 or pictures.dtype != torch.uint8 or not len(pictures):
        raise BadInput(
            f"{what}: {pictures.dtype} of shape {tuple(pictures.shape)}; give bytes (N, 3, H, W) with at least one picture"
        )
