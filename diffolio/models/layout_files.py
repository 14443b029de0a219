"""Layouts from files, and label maps as pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.layouts import UNLABELLED, Layout


def read_layout(path: Path, height: int, width: int | None = None) -> Layout:
    """A JSON file with ``text_label_mapping`` (word -> class id), ``caption`` and ``layout_path``, an 8-bit picture of class ids beside it.

    The map is resized to (``height``, ``width``) pixels, to the nearest. BadInput for a file that is not so.
    """
    import numpy as np
    from PIL import Image

    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        words = {int(c): str(word) for word, c in record["text_label_mapping"].items()}
        with Image.open(path.parent / record["layout_path"]) as picture:
            if picture.mode not in ("L", "P"):
                raise BadInput(f"the label map {record['layout_path']} is of mode {picture.mode}: give one channel of 8 bits")
            small = picture.resize((width or height, height), Image.Resampling.NEAREST)
            labels = torch.from_numpy(np.array(small).astype(np.int64))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadInput(f"{path} is no layout: it needs text_label_mapping, caption and layout_path ({error})") from error
    return Layout(labels, words, str(record.get("caption", "")))


def coloured(layouts: Sequence[Layout]) -> Tensor:
    """Label maps as pictures (B, 3, H, W): a colour for each class, white for the lowest, black where there is no class."""
    turn = torch.arange(256) * 0.618034 * 2 * torch.pi  # golden angles: classes that are close in number are not in colour
    palette = 0.55 + 0.4 * torch.stack([turn.sin(), (turn + 2.1).sin(), (turn + 4.2).sin()], 1)
    palette[UNLABELLED] = 0
    pictures = []
    for layout in layouts:
        own = palette.clone()
        own[layout.classes[0]] = 1
        pictures.append(own[layout.labels.long().cpu()].permute(2, 0, 1))
    return torch.stack(pictures)
