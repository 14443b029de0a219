"""Clips from files, with the speed at which they are played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from diffolio.errors import BadInput

MOST = 512  # frames


def load_clip(path: str | Path) -> tuple[Tensor, float | None]:
    """An animated WebP, GIF or PNG as (T, 3, H, W) in [0, 1], and its frames a second (None if the file does not say).

    Transparency is laid on white. BadInput for a file that holds no animation, or one of more than 512 frames.
    """
    frames, milliseconds = [], []
    try:
        with Image.open(path) as opened:
            if (found := getattr(opened, "n_frames", 1)) > MOST:
                raise BadInput(f"{path} has {found} frames: give a clip of at most {MOST}")
            for frame in ImageSequence.Iterator(opened):
                picture = frame.convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                pixels = np.array(Image.alpha_composite(white, picture).convert("RGB"))
                frames.append(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
                milliseconds.append(float(frame.info.get("duration") or 0))  # WebP's reader tells it only after decoding
    except OSError as error:
        raise BadInput(f"{path} cannot be read as a clip ({error}): give an animated WebP, GIF or PNG") from error
    if len(frames) < 2:
        raise BadInput(f"{path} holds one picture: give an animated WebP, GIF or PNG with at least two frames")
    mean = sum(milliseconds) / len(milliseconds)
    return torch.stack(frames), 1000 / mean if mean > 0 else None
