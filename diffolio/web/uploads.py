"""Pictures that visitors bring: looked at with pillow's guards before anything else sees them, and the masks painted on them."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from diffolio.errors import BadInput
from diffolio.web.settings import Settings

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
PREVIEW = 1024  # pixels of the longer side, on which a mask is painted


@contextmanager
def opened(path: Path, settings: Settings) -> Iterator[Image.Image]:
    """An upload as a decoded picture; BadInput for what is too large, cut off, or no picture."""
    try:
        size = path.stat().st_size
        if size > settings.max_bytes:
            raise BadInput(
                f"the file has {size / 1e6:.1f} MB, at most {settings.max_bytes / 1e6:.0f} are taken: scale it down first"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > settings.max_pixels:
                    raise BadInput(
                        f"the picture has {picture.width}x{picture.height} pixels, more than {settings.max_pixels / 1e6:g} million:"
                        " scale it down first"
                    )
                picture.load()
                yield picture
    except BadInput:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput("this is no picture that can be read: give a PNG, JPEG or WebP file") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise BadInput(f"the picture cannot be read to its end ({error}): save it again and choose it anew") from error


def preview(path: Path, settings: Settings) -> Image.Image:
    """The upload upright, in RGB, its longer side at most PREVIEW pixels."""
    with opened(path, settings) as picture:
        upright = ImageOps.exif_transpose(picture).convert("RGBA")
    white = Image.new("RGBA", upright.size, (255, 255, 255, 255))
    small = Image.alpha_composite(white, upright).convert("RGB")
    small.thumbnail((PREVIEW, PREVIEW))
    return small


def keep_picture(path: Path, folder: Path, settings: Settings, name: str = "picture") -> tuple[Path, tuple[int, int]]:
    """Copy an upload into a run's folder as it is; where it lies and its upright size."""
    with opened(path, settings) as picture:
        suffix = "." + (picture.format or "png").lower()
        size = ImageOps.exif_transpose(picture).size
    kept = folder / f"{name}{suffix}"
    shutil.copyfile(path, kept)
    return kept, size


def painted(editor: dict[str, Any] | None) -> Image.Image | None:
    """What was painted in a mask editor (its layers' opacity), as L; None where nothing was."""
    layers = [layer for layer in (editor or {}).get("layers") or [] if layer is not None]
    found: Image.Image | None = None
    for layer in layers:
        alpha = layer.convert("RGBA").getchannel("A").point(lambda value: 255 if value > 25 else 0)
        if found is None:
            found = alpha
        else:
            found.paste(255, mask=alpha)
    return found if found is not None and found.getbbox() else None


def keep_mask(mask: Image.Image, size: tuple[int, int], folder: Path) -> Path:
    """Write a painted mask at the size of its picture."""
    kept = folder / "mask.png"
    mask.resize(size, Image.Resampling.NEAREST).save(kept)
    return kept


def keep_file(path: Path, folder: Path, settings: Settings, name: str) -> Path:
    """Copy a further input into a run's folder under its own suffix."""
    if path.stat().st_size > settings.max_bytes:
        raise BadInput(f"{path.name} has more than {settings.max_bytes / 1e6:.0f} MB")
    suffix = path.suffix.lower() if path.suffix[1:].isalnum() and len(path.suffix) <= 12 else ""
    kept = folder / f"{name}{suffix}"
    shutil.copyfile(path, kept)
    return kept
