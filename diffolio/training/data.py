"""Training data: a folder of captioned pictures, or scenes of the tabletop world."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models import DiffolioWarning
from diffolio.models.images import load_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
NAMED = 20  # files that are left out and named; the rest are counted


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
    """Every picture of a folder with its caption in a text file of the same name beside it.

    What cannot be read, or has no caption, is left out with a DiffolioWarning that counts and names it. BadInput if nothing is left.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder: give one with pictures and captions (NAME.png + NAME.txt)")
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise BadInput(f"{folder} holds no picture ({', '.join(SUFFIXES)}): each NAME.png needs its caption in NAME.txt")
    kept: list[tuple[Path, str]] = []
    left_out: list[str] = []
    for path in pictures:
        try:
            load_image(path)  # only decoding tells whether a file is whole
            kept.append((path, path.with_suffix(".txt").read_text(encoding="utf-8").strip()))
        except FileNotFoundError:
            left_out.append(f"{path.name} has no {path.stem}.txt")
        except (BadInput, OSError, UnicodeDecodeError) as error:
            left_out.append(f"{path.name} ({str(error).splitlines()[0]})")
    told = f"{len(left_out)} of {len(pictures)} pictures in {folder} left out: {'; '.join(left_out[:NAMED])}"
    told += f"; and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    if not kept:
        raise BadInput(f"{told}. Nothing is left to train on: give whole pictures, each with its caption beside it")
    if left_out:
        warnings.warn(told, DiffolioWarning, stacklevel=2)
    return Captioned(tuple(path for path, _ in kept), tuple(caption for _, caption in kept))
