"""Photographs: from files of any kind, depth, colour profile and size to what a model takes, and back to their own size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d, interpolate, pad

from diffolio.errors import BadInput

if TYPE_CHECKING:
    from diffolio.models.model import Model

MAX_PIXELS = 64e6
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B")
ANIMATIONS = ("GIF", "WEBP", "PNG", "AVIF")  # further frames of a JPEG (MPO) or TIFF are previews or pages, not a film


@dataclass(frozen=True)
class Photo:
    """A picture as it is meant to be seen: ``image`` (3, H, W) in [0, 1] in sRGB, upright; ``alpha`` (H, W) in [0, 1] if it has any
    transparency, under which ``image`` is laid over white; ``notes``: what could not be honoured."""

    image: Tensor
    alpha: Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """ "WIDTHxHEIGHT", for messages."""
        return f"{self.image.shape[-1]}x{self.image.shape[-2]}"


@dataclass(frozen=True)
class Fitted:
    """A photograph at a size that a model takes: ``image`` (3, h, w), in which the whole photograph fills ``height`` x ``width`` from
    ``top``, ``left`` on; around it its edge pixels are repeated."""

    photo: Photo
    image: Tensor
    top: int
    left: int
    height: int
    width: int

    def back(self, images: Tensor) -> Tensor:
        """Pictures (..., 3, h, w) at the photograph's own size and aspect: (..., 3, H, W), clamped to [0, 1]."""
        if images.shape[-2:] != self.image.shape[-2:]:
            given, own = ("x".join(map(str, reversed(x.shape[-2:]))) for x in (images, self.image))
            raise BadInput(f"pictures of {given} do not belong to a photograph fitted to {own}")
        inner = images[..., self.top : self.top + self.height, self.left : self.left + self.width]
        return _scaled(inner, *self.photo.image.shape[-2:])

    def mask(self, mask: Tensor) -> Tensor:
        """A bool mask (H, W) of the photograph as (h, w): every cell that it touches. BadInput names both sizes if they differ."""
        if mask.shape != self.photo.image.shape[-2:]:
            raise BadInput(
                f"a mask of {'x'.join(map(str, reversed(mask.shape)))} for a picture of {self.photo.size}: give one of the picture's size"
            )
        inside = adaptive_max_pool2d(mask[None].float(), (self.height, self.width))
        return _padded(inside, self.top, self.left, *self.image.shape[-2:])[0] > 0.5


def fit(photo: Photo, model: Model, height: int | None = None, width: int | None = None) -> Fitted:
    """A photograph at the size that suits a model: its longer side as long as the model's own, both sides multiples of what it takes.

    ``height`` and ``width`` in pixels give another frame to fit into.
    """
    multiple = model._architecture.multiple(model.pipeline)
    return fit_into(photo, height or model.default_size, width or model.default_size, multiple)


def fit_into(photo: Photo, height: int, width: int, multiple: int = 8) -> Fitted:
    """The whole photograph, scaled to fit into the frame, in the middle of the least picture whose sides are multiples."""
    if min(height, width) < multiple:
        raise BadInput(f"size {width}x{height}: give at least {multiple} pixels a side")
    height, width = height // multiple * multiple, width // multiple * multiple
    h, w = photo.image.shape[-2:]
    scale = min(height / h, width / w)
    inner = (min(height, max(1, round(h * scale))), min(width, max(1, round(w * scale))))
    outer = [-(-side // multiple) * multiple for side in inner]
    top, left = (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
    return Fitted(photo, _padded(_scaled(photo.image, *inner), top, left, *outer), top, left, *inner)


def load_photo(source: str | Path | Image.Image | Photo, max_pixels: float = MAX_PIXELS) -> Photo:
    """A photograph from a file or a pillow picture: upright by its EXIF tag, its colours taken from its ICC profile to sRGB.

    8 or 16 bits, grey, palette, RGB, CMYK, with or without transparency. BadInput if it is missing, unreadable or cut off, has a
    pixel format that is no picture's, more than ``max_pixels`` pixels (read from the header, before anything is decoded), or
    is an animation: which of its frames is meant is for its owner to say.
    """
    if isinstance(source, Photo):
        return source
    with _opened(source, max_pixels) as (picture, name):
        frames = getattr(picture, "n_frames", 1)
        if frames > 1 and picture.format in ANIMATIONS:
            raise BadInput(f"{name} is an animation of {frames} frames: save the frame that you mean as a PNG and give that")
        return _photo(ImageOps.exif_transpose(picture))


def load_mask(source: str | Path | Image.Image, max_pixels: float = MAX_PIXELS) -> Tensor:
    """A mask (H, W), bool: True where the picture is lighter than mid-grey (transparent counts as black). BadInput if nowhere."""
    with _opened(source, max_pixels) as (picture, name):
        upright = _eight_bits(ImageOps.exif_transpose(picture)).convert("RGBA")
        black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        mask = torch.from_numpy(np.array(Image.alpha_composite(black, upright).convert("L"))) > 127
    if not bool(mask.any()):
        raise BadInput(f"the mask {name} is empty: paint white where the edit may act")
    return mask


@contextmanager
def _opened(source: str | Path | Image.Image, max_pixels: float) -> Iterator[tuple[Image.Image, str]]:
    """The picture and its name for messages, looked at before it is decoded; what goes wrong while it is read is a BadInput."""
    name = "the picture" if isinstance(source, Image.Image) else str(source)
    try:
        picture = source if isinstance(source, Image.Image) else Image.open(source)
        if picture.width * picture.height > max_pixels:
            raise BadInput(
                f"{name} has {picture.width}x{picture.height} pixels, more than {max_pixels / 1e6:g} million: scale it down first"
            )
        if picture.mode not in MODES:
            raise BadInput(f"{name} has pixel format {picture.mode!r}: give a grey or colour picture with 8 or 16 bits")
        try:
            yield picture, name
        finally:
            if picture is not source:
                picture.close()
    except FileNotFoundError:
        raise BadInput(f"there is no picture {name}") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{name} cannot be read as a picture ({error})") from error


def _photo(picture: Image.Image) -> Photo:
    if picture.mode.startswith("I;16"):
        grey = torch.from_numpy(np.asarray(picture).astype(np.float32) / 65535)
        ignored = "its colour profile is not used: 16-bit grey is taken as it is"
        return Photo(grey.expand(3, -1, -1).contiguous(), notes=(ignored,) if picture.info.get("icc_profile") else ())
    transparent = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    mask = picture.convert("RGBA").getchannel("A") if transparent else None
    colours, notes = _in_srgb(picture)
    if mask is None or mask.getextrema() == (255, 255):
        return Photo(_tensor(colours), notes=notes)
    over = Image.composite(colours, Image.new("RGB", colours.size, (255, 255, 255)), mask)
    return Photo(_tensor(over), torch.from_numpy(np.array(mask)).float() / 255, notes)


def _in_srgb(picture: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture's colours as 8-bit sRGB, without its transparency, and what is to be said of its profile."""
    embedded = picture.info.get("icc_profile")
    bare = picture.convert({"LA": "L", "PA": "RGB", "P": "RGB", "RGBA": "RGB", "1": "L"}.get(picture.mode, picture.mode))
    if embedded:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(embedded))
            if "srgb" not in ImageCms.getProfileDescription(profile).lower():
                converted = ImageCms.profileToProfile(bare, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
                assert converted is not None
                return converted, ()
        except (ImageCms.PyCMSError, OSError) as error:
            return bare.convert("RGB"), (f"its colour profile cannot be used ({error}): colours are taken as sRGB",)
    return bare.convert("RGB"), ()


def _eight_bits(picture: Image.Image) -> Image.Image:
    if not picture.mode.startswith("I;16"):
        return picture
    return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _scaled(images: Tensor, height: int, width: int) -> Tensor:
    """(..., 3, h, w) -> (..., 3, height, width), antialiased."""
    if images.shape[-2:] == (height, width):
        return images
    batch = images.reshape(-1, *images.shape[-3:])
    scaled = interpolate(batch, (height, width), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return scaled.reshape(*images.shape[:-2], height, width)


def _padded(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """(C, h, w) inside (C, height, width), the edge pixels repeated."""
    below, right = height - top - image.shape[-2], width - left - image.shape[-1]
    return pad(image[None], (left, right, top, below), mode="replicate")[0]
