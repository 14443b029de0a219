"""A shading estimator at work: direct shading with cast shadows of a picture or a depth map, for a sun that is chosen; on disk."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.geometry.shading import check_depth, n_dot_l, normals_of
from diffolio.models.vae import check_images
from diffolio.nets.shading import GeometryNet, ShadingNetwork

if TYPE_CHECKING:
    from diffolio.models.model import Model

WEIGHTS = "shading.safetensors"


@dataclass(frozen=True)
class ShadingEstimator:
    """``shade(depth, light)`` and, where no depth is known, ``depth(images)``. Axes as in geometry.shading."""

    network: ShadingNetwork
    geometry: GeometryNet

    @torch.no_grad()
    def depth(self, images: Tensor) -> Tensor:
        """What the pictures (B, 3, H, W) in [0, 1] seem to show: (B, H, W), infinite where sky."""
        check_images(images, 8)
        found: Tensor = self.geometry(images)
        # A picture of nothing but sky has no shading to speak of, but must not end in an error.
        nothing = ~torch.isfinite(found).flatten(1).any(1)
        return torch.where(nothing[:, None, None], 100.0, found)

    @torch.no_grad()
    def shade(self, depth: Tensor, light: Tensor, image: Tensor | None = None, normals: Tensor | None = None) -> Tensor:
        """Direct shading (B, 1, H, W) in [0, 1] of a sun of strength 1 from ``light`` (B, 3) or (3,).

        ``image``: the picture *under that light*, if there is one; N.L stands in its place. ``normals``: (B, 3, H, W), if better ones
        than the depth's are known. BadInput for unusable depth or normals.
        """
        depth = check_depth(depth)
        light = F.normalize(light.reshape(-1, 3).to(depth), dim=-1).expand(len(depth), 3)
        normals = check_normals(normals_of(depth) if normals is None else normals)
        if depth.shape[-2] % 8 or depth.shape[-1] % 8:
            raise BadInput(f"depth of {depth.shape[-1]}x{depth.shape[-2]}: give sides that are multiples of 8")
        made = self.network(depth, light, image, normals).direct
        return made.clamp(0, 1) * torch.isfinite(depth)[:, None]

    @torch.no_grad()
    def n_dot_l(self, depth: Tensor, light: Tensor) -> Tensor:
        """Shading without cast shadows, (B, 1, H, W)."""
        light = F.normalize(light.reshape(-1, 3).to(depth), dim=-1).expand(len(depth), 3)
        return n_dot_l(normals_of(check_depth(depth)), light)

    def save(self, folder: str | Path) -> Path:
        """Float16 safetensors."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"network": self.network, "geometry": self.geometry}
        save_file(
            {f"{name}.{k}": v.detach().half().contiguous().cpu() for name, part in parts.items() for k, v in part.state_dict().items()},
            folder / WEIGHTS,
        )  # fmt: skip
        return folder / WEIGHTS

    @classmethod
    def load(cls, folder: str | Path) -> ShadingEstimator:
        """BadInput if ``folder`` holds none."""
        from safetensors.torch import load_file

        made = cls(ShadingNetwork().eval().requires_grad_(False), GeometryNet().eval().requires_grad_(False))
        try:
            weights = load_file(Path(folder) / WEIGHTS)
            for name, part in (("network", made.network), ("geometry", made.geometry)):
                part.load_state_dict(
                    {k.removeprefix(f"{name}."): v.float() for k, v in weights.items() if k.startswith(f"{name}.")}
                )
        except (OSError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise BadInput(f"{folder} holds no shading estimator ({reason}): train one with `diffolio train lightit`") from error
        return made


def check_normals(normals: Tensor) -> Tensor:
    """Unit normals (B, 3, H, W), zero where nothing is. Other lengths are brought to one, with a warning. BadInput if most of them
    point away from the camera: then their axes are others."""
    from diffolio.models.text import DiffolioWarning

    if normals.dim() != 4 or normals.shape[1] != 3 or not bool(torch.isfinite(normals).all()):
        raise BadInput(f"normals of shape {tuple(normals.shape)}: give (B, 3, H, W), finite, in [-1, 1]")
    length = normals.norm(dim=1, keepdim=True)
    there = length > 0.05
    if bool((there & ((length - 1).abs() > 0.05)).any()):
        warnings.warn("normals of another length than one were brought to length one", DiffolioWarning, stacklevel=3)
    if float((normals[:, 2:] * there).sum()) < 0:
        raise BadInput("most normals point away from the camera: give x to the right, y up, z towards the camera")
    return torch.where(there, normals / length.clamp_min(1e-6), 0.0)


def depth_from(given: Any, model: Model, like: Tensor) -> Tensor:
    """An input as depth (B, H, W): a tensor, or a grey picture of disparities, lighter being nearer, black being sky."""
    if isinstance(given, Tensor):
        return check_depth(given.to(like))
    from diffolio.models.photos import fit, load_photo

    picture = fit(load_photo(given), model, *like.shape[-2:]).image.to(like)
    if picture.shape[-2:] != like.shape[-2:]:
        raise BadInput("the depth picture has another shape than the picture: give one of the same size")
    grey = picture.mean(0, keepdim=True)
    return check_depth(torch.where(grey > 0.02, 1 / grey.clamp_min(0.02), torch.inf))
