"""What a tabletop picture shows, told from its pixels by analysis: no trained net, no randomness.

The table and its style come first, then the palette colour of every pixel, then coloured pieces (:mod:`setting`, :mod:`pixels`); each piece
is fitted with every kind (:mod:`fitting`). What remains is to decide which pieces belong together (a boat's hull and sail,
a thing cut in two by another) and, where two things overlap, which one stands in front (:mod:`grouping`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from diffolio.errors import BadInput
from diffolio.worlds.tabletop.fitting import Fit, silhouette_mask
from diffolio.worlds.tabletop.grouping import Guess, grouped, ordered
from diffolio.worlds.tabletop.palette import COLOURS
from diffolio.worlds.tabletop.pixels import Piece
from diffolio.worlds.tabletop.setting import Mask, Setting, setting
from diffolio.worlds.tabletop.shapes import KIND_NAMES
from diffolio.worlds.tabletop.templates import KIND_COUNT, Array
from diffolio.worlds.tabletop.verdict import SURE, Found, Reading

LEAST_AREA = 0.003  # of the picture: a third of the smallest thing that the world draws
LEAST_PIXELS = 5.0
SIDE = 64  # larger pictures are read at this size


def read(images: Tensor, *, least_area: float = LEAST_AREA) -> list[Reading]:
    """Read pictures (B, 3, H, W), float in [0, 1], sides 16 to 4096 pixels. Every picture is read alone.

    ``least_area``: pieces of a smaller share of the picture are specks, not things.
    """
    _check(images, least_area)
    return [_read(image, least_area) for image in images.detach().to("cpu", torch.float32)]


def _check(images: Tensor, least_area: float) -> None:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        given = f"{tuple(images.shape)} {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
        raise BadInput(f"pictures to read: got {given}, need float (B, 3, H, W) in [0, 1]; give a single picture as image[None]")
    if not all(16 <= side <= 4096 for side in images.shape[2:]):
        raise BadInput(f"pictures of {images.shape[3]}x{images.shape[2]} pixels: each side must lie in 16..4096 to be read")
    if not torch.isfinite(images).all():
        raise BadInput("pictures to read hold NaN or infinity: check the sampler or the decoder that made them")
    if images.numel() and (images.min() < -0.01 or images.max() > 1.01):
        low, high = float(images.min()), float(images.max())
        raise BadInput(f"pictures to read lie in [{low:.2f}, {high:.2f}], need [0, 1]: rescale, or clamp what a decoder gave")
    if not 0 < least_area < 1:
        raise BadInput(f"least_area {least_area}: give a share of the picture in (0, 1)")


def _read(image: Tensor, least_area: float) -> Reading:
    height, width = image.shape[1:]
    picture = np.ascontiguousarray(_reduced(image).clamp(0, 1).permute(1, 2, 0).numpy())
    where = setting(picture)
    shape = picture.shape[:2]
    guesses, outline = grouped(picture, where, max(least_area * shape[0] * shape[1], LEAST_PIXELS))
    guesses = ordered(picture, where, guesses, outline)
    found = _found(guesses, where, shape, (height, width))
    style = "night" if where.night else "snow" if where.snow else "outline" if outline else "flat"
    return Reading(found, where.background, style, min((f.confidence for f in found), default=where.clear), width / height)


def _reduced(image: Tensor) -> Tensor:
    """The picture (3, H, W), its shorter side averaged down to at most :data:`SIDE` pixels."""
    height, width = image.shape[1:]
    scale = SIDE / min(height, width)
    if scale >= 1:
        return image
    return interpolate(image[None], (max(round(height * scale), 16), max(round(width * scale), 16)), mode="area")[0]


def _found(guesses: list[Guess], where: Setting, small: tuple[int, int], size: tuple[int, int]) -> list[Found]:
    """Guesses on the ``small`` picture (H, W) as things of the picture, with masks at its full ``size``."""
    poses = [_enlarged(_pose(guess), small, size) for guess in guesses]
    whole = [
        silhouette_mask(replace(g.fit, pose=pose), size) if g.fit is not None else _stretched(g.piece.mask, size)
        for g, pose in zip(guesses, poses, strict=True)
    ]
    found = []
    for guess, pose, silhouette in zip(guesses, poses, whole, strict=True):
        kind = KIND_NAMES[guess.fit.kind] if guess.fit is not None else "circle"
        kind_confidence = where.clear * _kind_confidence(guess.fit)
        # What is not surely of a kind is as it was seen, not as the form says.
        mask = silhouette if kind_confidence >= SURE else _stretched(guess.piece.mask, size)
        for front in guess.behind:
            mask = mask & ~whole[front]
        thing = Found(
            kind=kind,
            colour=tuple(COLOURS)[guess.piece.colour],
            x=float(pose[0]) / size[1],
            y=float(pose[1]) / size[0],
            size=float(2 * np.exp(pose[2])) / min(size),
            angle=0.0 if kind in ("circle", "ring") else float(np.rad2deg(pose[3])),
            kind_confidence=kind_confidence,
            colour_confidence=where.clear * _colour_confidence(guess.piece, where),
            mask=torch.from_numpy(mask),
            behind=guess.behind,
        )
        found.append(thing)
    return found


def _pose(guess: Guess) -> Array:
    """The fitted pose, or that of a disc of the same area where no form fits."""
    if guess.fit is not None:
        return guess.fit.pose
    rows, columns = np.nonzero(guess.piece.mask)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5, np.log(np.sqrt(guess.piece.area / np.pi) / 0.86), 0], np.float32)


def _enlarged(pose: Array, small: tuple[int, int], size: tuple[int, int]) -> Array:
    x, y = size[1] / small[1], size[0] / small[0]
    return np.array([pose[0] * x, pose[1] * y, pose[2] + np.log(min(size) / min(small)), pose[3]], np.float32)


def _stretched(mask: Mask, size: tuple[int, int]) -> Mask:
    return interpolate(torch.from_numpy(mask)[None, None].float(), size, mode="nearest")[0, 0].numpy() > 0.5


def _kind_confidence(fitted: Fit | None) -> float:
    """One half where the fit covers 57% (thin outlines: 45%) of its union with what is seen, leaves at most 40% (75%) of the
    picture's contrast unexplained, and 15% less than any other kind does; whichever of the three is weakest decides. On
    renders warped by wobbles of two pixels, six tenths of the readings are sure, and 98% of those are right."""
    if fitted is None:
        return 0.0
    outline = fitted.form >= KIND_COUNT
    shape = (fitted.overlap - (0.3 if outline else 0.42)) / 0.3
    picture = (0.95 - fitted.left) / 0.4 if outline else (0.55 - fitted.left) / 0.3
    alone = (1 - fitted.left / (fitted.rival + 1e-6)) / 0.3
    # A fish without an eye is an oval, unless its outline leaves no doubt.
    details = 1.0 if fitted.detail > 0.3 or fitted.left < 0.15 else 0.45
    return float(np.clip(min(shape, picture, alone), 0, 1)) * details


def _colour_confidence(piece: Piece, where: Setting) -> float:
    """One where the piece's own colour is much nearer to its palette colour than to any other."""
    distance = np.sqrt(((where.colours - piece.rgb) ** 2).sum(1))
    other = np.delete(distance, piece.colour).min()
    return float(np.clip(2 * (1 - distance[piece.colour] / other), 0, 1))
