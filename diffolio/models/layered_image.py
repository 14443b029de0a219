"""A picture in layers: what each shows, where, the picture that they make together, and files that painting programs open."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.models.text import DiffolioWarning
from diffolio.process.compositing import over

SEEN = 0.5  # from which a mask covers
LEAST = 0.002  # of the picture, below which a mask is empty
SHARED = 0.005  # of the picture, from which it is said that masks overlap


@dataclass(frozen=True, eq=False)
class LayeredImage:
    """``images`` (L, 3, H, W), the background first, then from back to front; ``masks`` (L - 1, 1, H, W) of all but the background, both
    in [0, 1]. ``prompt`` is the global one, ``prompts`` the layers'."""

    images: Tensor
    masks: Tensor
    prompt: str = ""
    prompts: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.images.dim() != 4 or tuple(self.masks.shape) != (len(self.images) - 1, 1, *self.images.shape[-2:]):
            given = f"{tuple(self.images.shape)} and {tuple(self.masks.shape)}"
            raise BadInput(f"layers of shapes {given}: give pictures (L, 3, H, W) and masks (L - 1, 1, H, W)")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def overlap(self) -> float:
        """Share of the picture that two or more masks cover."""
        return float(((self.masks > SEEN).sum(0) > 1).float().mean()) if len(self.masks) else 0.0

    @property
    def empty(self) -> list[int]:
        """The layers (1 is the rearmost thing) whose mask covers next to nothing."""
        covered = (self.masks > SEEN).flatten(1).float().mean(1)
        return [i + 1 for i, share in enumerate(covered.tolist()) if share < LEAST]

    def composite(self) -> Tensor:
        """The picture (3, H, W): every layer laid over those before it. Where masks are disjoint it is the paper's sum. A
        DiffolioWarning where they overlap: what lies in front is seen there."""
        if self.overlap > SHARED:
            warnings.warn(
                f"the masks of {self.prompt or 'a layered picture'} overlap on {self.overlap:.1%} of it: the later layer is seen there",
                DiffolioWarning,
                stacklevel=2,
            )
        picture = self.images[:1]
        for image, mask in zip(self.images[1:], self.masks, strict=True):
            picture = over(picture, image[None], mask[None])
        return picture[0]

    def layer(self, index: int) -> tuple[Tensor, Tensor | None]:
        """Picture (3, H, W) and mask (1, H, W) of one layer; the background has none."""
        return self.images[index], self.masks[index - 1] if index else None

    def rgba(self) -> Tensor:
        """Every layer with its mask as alpha (L, 4, H, W); the background is opaque."""
        full = torch.ones_like(self.images[:1, :1])
        return torch.cat([self.images, torch.cat([full, self.masks])], 1)

    def names(self) -> list[str]:
        """What the layers are called in files."""
        return list(self.prompts) or ["background", *(f"layer {i}" for i in range(1, len(self)))]

    def psd_layers(self) -> list[tuple[str, Tensor]]:
        """Name and RGBA (4, H, W) of each layer from the lowest, as writers of PSD files take them."""
        return list(zip(self.names(), self.rgba(), strict=True))

    def to_ora(self, path: str | Path) -> Path:
        """Write an OpenRaster file, which GIMP, Krita and others open with its layers."""
        from PIL import Image

        path = Path(path)
        height, width = self.images.shape[-2:]

        def png(image: Tensor) -> bytes:
            pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            return buffer.getvalue()

        rows = [f'<layer name={quoteattr(name)} src="data/{i}.png" x="0" y="0"/>' for i, name in enumerate(self.names())]
        stack = "".join(reversed(rows))  # OpenRaster lists the topmost first
        xml = f'<?xml version="1.0" encoding="UTF-8"?><image version="0.0.3" w="{width}" h="{height}"><stack>{stack}</stack></image>'
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DiffolioWarning)
            merged = png(self.composite())
        try:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
                file.writestr("mimetype", "image/openraster", zipfile.ZIP_STORED)
                file.writestr("stack.xml", xml)
                for i, layer in enumerate(self.rgba()):
                    file.writestr(f"data/{i}.png", png(layer))
                file.writestr("mergedimage.png", merged)
                file.writestr("Thumbnails/thumbnail.png", merged)
        except OSError as error:
            raise BadInput(f"{path} cannot be written ({error.strerror}): name a file in a folder that can be") from error
        return path
