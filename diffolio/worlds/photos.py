"""Real photographs: those that ship inside scikit-image and scikit-learn, so that nothing is downloaded.

A photograph belongs to one split, and two pictures of one scene to the same one, so that nothing held out was ever trained on.
Drawings, scanned text and medical close-ups of the same slide are left out, and so is the set of faces. The portrait among
them ("astronaut") is a picture to restore or compress; it is nobody's identity to learn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffolio.errors import BadInput, Unsupported, choose

SPLITS: tuple[str, ...] = ("train", "held-out")
LEAST_DETAIL = 0.02  # standard deviation below which a crop is empty sky or black space, and drawn again


@dataclass(frozen=True)
class Photo:
    """Where a photograph lies: a folder of an installed package and a file, in which split it is, and what it shows."""

    name: str
    package: str
    file: str
    split: str
    shows: str


PHOTOS: tuple[Photo, ...] = (
    Photo("astronaut", "skimage/data", "astronaut.png", "train", "a woman in an orange space suit"),
    Photo("brick", "skimage/data", "brick.png", "train", "a brick wall, grey"),
    Photo("camera", "skimage/data", "camera.png", "train", "a man behind a camera, grey"),
    Photo("coins", "skimage/data", "coins.png", "train", "ancient coins, grey"),
    Photo("flower", "sklearn/datasets/images", "flower.jpg", "train", "a flower"),
    Photo("gravel", "skimage/data", "gravel.png", "train", "gravel, grey"),
    Photo("moon", "skimage/data", "moon.png", "train", "the surface of the moon, grey"),
    Photo("motorcycle_left", "skimage/data", "motorcycle_left.png", "train", "a motorcycle in a garage"),
    Photo("motorcycle_right", "skimage/data", "motorcycle_right.png", "train", "the same motorcycle, a step to the right"),
    Photo("retina", "skimage/data", "retina.jpg", "train", "the back of an eye"),
    Photo("rocket", "skimage/data", "rocket.jpg", "train", "a rocket on its pad"),
    Photo("chelsea", "skimage/data", "chelsea.png", "held-out", "a cat"),
    Photo("china", "sklearn/datasets/images", "china.jpg", "held-out", "a temple"),
    Photo("coffee", "skimage/data", "coffee.png", "held-out", "a cup of coffee on a table"),
    Photo("grass", "skimage/data", "grass.png", "held-out", "grass, grey"),
    Photo("hubble", "skimage/data", "hubble_deep_field.jpg", "held-out", "galaxies"),
    Photo("ihc", "skimage/data", "ihc.png", "held-out", "stained tissue under a microscope"),
)


@dataclass(frozen=True)
class Crops:
    """``images`` float (n, 3, S, S) in [0, 1], and where each comes from: ``names`` of photographs, ``boxes`` (n, 4) as left, top,
    right, bottom (exclusive) in their pixels, ``flipped`` bool (n,) left to right."""

    images: Tensor
    names: list[str]
    boxes: Tensor
    flipped: Tensor


def names(split: str | None = None) -> tuple[str, ...]:
    """Names of all photographs, or of those in one split."""
    if split is not None:
        choose("split", split, SPLITS)
    return tuple(p.name for p in PHOTOS if split in (None, p.split))


@lru_cache(maxsize=len(PHOTOS))
def _load(name: str) -> Tensor:
    photo = next(p for p in PHOTOS if p.name == name)
    path = _folder(photo.package) / photo.file
    if not path.is_file():
        raise Unsupported(
            f"{photo.package} lacks {photo.file}: install scikit-image >= 0.24 and scikit-learn >= 1.5 from their wheels"
        )
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _folder(package: str) -> Path:
    """A folder inside an installed package, which is found without the slow import of it."""
    top, _, inside = package.partition("/")
    spec = find_spec(top)
    if spec is None or spec.origin is None:
        raise Unsupported(f"photographs need {top}, which is not installed: install scikit-image and scikit-learn")
    return Path(spec.origin).parent / inside


def photo(name: str) -> Tensor:
    """One photograph: float (3, H, W) in [0, 1]; grey ones have three equal channels."""
    choose("photograph", name, names())
    return _load(name).clone()


def crops(
    size: int, n: int, seed: int, split: str = "train", *, scale: tuple[float, float] = (1.0, 4.0), flip: bool = True
) -> Crops:
    """``n`` square crops of ``size`` pixels from one split, every photograph as likely as any other.

    Each is cut from a square ``scale`` times as large (drawn evenly in its logarithm, as far as the photograph reaches) and
    averaged down; half of them are mirrored if ``flip``. The first k of n crops do not depend on n.
    """
    choose("split", split, SPLITS)
    if n < 1 or not 8 <= size <= 300:
        raise BadInput(f"{n} crops of {size} pixels: give at least one crop of 8 to 300 pixels, the smallest photograph's side")
    if not 1 <= scale[0] <= scale[1]:
        raise BadInput(f"scales {scale}: give (least, most) with 1 <= least <= most; crops are never enlarged")
    images, sources, boxes, mirrored = [], [], [], []
    for i in range(n):
        rng = random.Random(f"photos/{split}/{seed}/{i}")
        for _ in range(20):
            name = rng.choice(names(split))
            image, box = _crop(_load(name), size, scale, rng)
            if image.std() > LEAST_DETAIL:
                break
        mirror = flip and rng.random() < 0.5
        images.append(image.flip(-1) if mirror else image)
        sources.append(name)
        boxes.append(box)
        mirrored.append(mirror)
    return Crops(torch.stack(images), sources, torch.tensor(boxes), torch.tensor(mirrored))


def _crop(picture: Tensor, size: int, scale: tuple[float, float], rng: random.Random) -> tuple[Tensor, tuple[int, int, int, int]]:
    height, width = picture.shape[1:]
    most = min(scale[1], min(height, width) / size)
    least = min(scale[0], most)
    side = min(round(size * least * (most / least) ** rng.random()), height, width)
    left, top = rng.randint(0, width - side), rng.randint(0, height - side)
    cut = picture[:, top : top + side, left : left + side]
    if side != size:
        cut = torch.nn.functional.interpolate(cut[None], (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
    return cut.clamp(0, 1).clone(), (left, top, left + side, top + side)
