"""Training data: a folder of captioned pictures, or scenes of the tabletop world."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.images import load_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Captioned:
    """Pictures (3, H, W) in [0, 1], loaded when asked for, and their captions."""

    paths: tuple[Path, ...]
    captions: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        return load_image(self.paths[index]), self.captions[index]


def captioned_folder(folder: Path) -> Captioned:
    """Every picture of a folder with its caption in a text file of the same name beside it."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: give one with pictures and captions (NAME.png + NAME.txt)")
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    missing = [path.name for path in pictures if not path.with_suffix(".txt").exists()]
    if not pictures or missing:
        what = "no picture" if not pictures else f"{len(missing)} pictures without a caption, {missing[0]} first"
        raise BadInput(f"{folder}: {what}; each NAME.png needs its caption in NAME.txt")
    captions = tuple(path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in pictures)
    return Captioned(tuple(pictures), captions)
