"""Pictures: from files to tensors (3, H, W) in [0, 1] and back, resizing, and contact sheets."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from diffolio.errors import BadInput, NotFinite
from diffolio.models.photos import MAX_PIXELS, load_photo

LARGEST = 768  # pixels of a cell's longer side
GAP, INK, PAPER = 6, (20, 20, 20), (255, 255, 255)


def load_image(path: str | Path, max_pixels: float = MAX_PIXELS) -> Tensor:
    """A picture as (3, H, W) float32 in [0, 1], upright, in sRGB, transparency laid over white; refused as ``load_photo`` says."""
    return load_photo(path, max_pixels).image


def save_image(image: Tensor, path: str | Path, alpha: Tensor | None = None) -> Path:
    """Write (3, H, W) or (1, H, W) in [0, 1], with an ``alpha`` (H, W) if given; values outside are clamped. The file is whole or not
    there."""
    path = Path(path)
    fresh = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        picture = to_pil(image)
        if alpha is not None:
            picture.putalpha(to_pil(alpha[None]).convert("L"))
        picture.save(fresh)
        fresh.replace(path)
    except OSError as error:
        raise BadInput(f"cannot write {path} ({error.strerror or error}): name a folder that can be written") from error
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"cannot write {path} ({error}): give a name that ends in .png or another picture format") from error
    finally:
        fresh.unlink(missing_ok=True)
    return path


def to_pil(image: Tensor) -> Image.Image:
    """(3, H, W) or (1, H, W) in [0, 1] as an 8-bit RGB picture."""
    if image.dim() != 3 or image.shape[0] not in (1, 3):
        raise BadInput(f"a picture of shape {tuple(image.shape)}: give (3, H, W) or (1, H, W)")
    image = image.detach().float().cpu()
    if not bool(torch.isfinite(image).all()):
        raise NotFinite("the picture holds NaN or infinity")
    pixels = (image.clamp(0, 1) * 255).round().byte().expand(3, -1, -1).permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy())


def fit_size(image: Tensor, height: int, width: int) -> Tensor:
    """Scale (antialiased) until the frame is covered, then crop its centre. (..., 3, H, W) -> (..., 3, height, width)."""
    if min(height, width) < 1:
        raise BadInput(f"size {height}x{width}: give at least one pixel")
    h, w = image.shape[-2:]
    if (h, w) == (height, width):
        return image
    scale = max(height / h, width / w)
    new = (max(height, round(h * scale)), max(width, round(w * scale)))
    batch = image.reshape(-1, *image.shape[-3:])
    scaled = torch.nn.functional.interpolate(batch, new, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    top, left = (new[0] - height) // 2, (new[1] - width) // 2
    return scaled[..., top : top + height, left : left + width].reshape(*image.shape[:-2], height, width)


def strip(images: Tensor | Sequence[Tensor], columns: int | None = None, labels: Sequence[str] = ()) -> Image.Image:
    """Pictures (B, 3, H, W) in a grid, row by row, each with its label above."""
    pictures = list(images)
    if not pictures:
        raise BadInput("no picture to show")
    columns = min(columns or len(pictures), len(pictures))
    if columns < 1:
        raise BadInput(f"{columns} columns: give at least one")
    rows = [(pictures[i : i + columns], list(labels[i : i + columns])) for i in range(0, len(pictures), columns)]
    return _grid([("", row, texts) for row, texts in rows])


def sheet(images: Mapping[str, Tensor | Sequence[Tensor]], labels: Sequence[str] = ()) -> Image.Image:
    """All pictures in one: a row per title, a column per sample; ``labels`` name the columns. Rows may differ in size."""
    rows = [(title, list(batch)) for title, batch in images.items()]
    if not any(batch for _, batch in rows):
        raise BadInput("no picture to show")
    return _grid([(title, batch, list(labels) if i == 0 else []) for i, (title, batch) in enumerate(rows)])


def _grid(rows: list[tuple[str, list[Tensor], list[str]]]) -> Image.Image:
    """Rows of (title, pictures, labels above the pictures), all pictures in cells of one size."""
    pictures = [[to_pil(image) for image in batch] for _, batch, _ in rows]
    for picture in (picture for batch in pictures for picture in batch):
        picture.thumbnail((LARGEST, LARGEST))
    largest = max(max(p.size) for batch in pictures for p in batch)
    zoom = max(1, math.ceil(128 / largest))
    cell_w = max(p.width for batch in pictures for p in batch) * zoom
    cell_h = max(p.height for batch in pictures for p in batch) * zoom
    font = ImageFont.load_default(12)
    margin = 120 if any(title for title, _, _ in rows) else 0
    wrapped = [[textwrap.wrap(text, max(4, cell_w // 7)) for text in labels[: len(batch)]] for _, batch, labels in rows]
    heads = [15 * max((len(lines) for lines in texts), default=0) for texts in wrapped]
    columns = max(len(batch) for batch in pictures)
    size = (margin + columns * (cell_w + GAP) + GAP, sum(head + cell_h + GAP for head in heads) + GAP)
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    top = GAP
    for (title, _, _), batch, texts, head in zip(rows, pictures, wrapped, heads, strict=True):
        draw.multiline_text((GAP, top + head), "\n".join(textwrap.wrap(title, 16)), INK, font)
        for column, picture in enumerate(batch):
            left = margin + GAP + column * (cell_w + GAP)
            if column < len(texts):
                draw.multiline_text((left, top), "\n".join(texts[column]), INK, font, spacing=2)
            # Whole-number magnification keeps small pictures' pixels square and sharp.
            times = max(1, min(cell_w // picture.width, cell_h // picture.height))
            canvas.paste(
                picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST), (left, top + head)
            )
        top += head + cell_h + GAP
    return canvas
