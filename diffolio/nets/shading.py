"""The networks of LightIt's shading estimation (Kocsis et al., 2024, arXiv:2403.10615, section 3.1), and one that sees depth.

FeatureNet(image) -> volume before the camera -> DensityNet -> density -> rays marched to the sun -> coarse shadow
ShadingNet(shadow, N.L) -> coarse shading;  RefinementNet(image, coarse shading) -> direct shading
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffolio.geometry.shading import FOCAL, Planes, march, n_dot_l, normals_of

FAR = 0.15  # of the unit of GeometryNet; what is smaller is sky
OPAQUE = 24.0  # density per unit of the nearest depth
UNIT = 4.5  # world units in the solids world: how far its standard camera stands from the middle


class Hourglass(nn.Module):
    """Pictures to maps of the same size, (B, inputs, H, W) -> (B, outputs, H, W); H and W are multiples of 8.

    Three levels from half the size down, skips between them; ends in zeros before training when ``residual``.
    """

    def __init__(self, inputs: int, outputs: int, widths: tuple[int, int, int] = (24, 48, 64), residual: bool = False) -> None:
        super().__init__()
        a, b, c = widths
        self.stem = nn.Conv2d(4 * inputs, a, 3, padding=1)
        self.down = nn.ModuleList([_block(a, b, stride=2), _block(b, c, stride=2)])
        self.middle = _block(c, c)
        self.up = nn.ModuleList([_block(c + b, b), _block(b + a, a)])
        self.head = nn.Conv2d(a, 4 * outputs, 3, padding=1)
        if residual:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.stem(F.pixel_unshuffle(x, 2)))
        skips = []
        for layer in self.down:
            skips.append(x)
            x = layer(x)
        x = x + self.middle(x)
        for layer in self.up:
            x = layer(torch.cat([F.interpolate(x, scale_factor=2.0, mode="nearest"), skips.pop()], 1))
        return F.pixel_shuffle(self.head(x), 2)


@dataclass(frozen=True)
class Shaded:
    """``direct`` (B, 1, H, W) in [0, 1] of a sun of strength 1; ``coarse`` before the refinement, ``shadow`` 0 where the sun is hidden,
    ``place`` (B, h, w) the density's expected depth and ``meant`` what it should be, in planes, NaN for sky."""

    direct: Tensor
    coarse: Tensor
    shadow: Tensor
    place: Tensor
    meant: Tensor


class ShadingNetwork(nn.Module):
    """Direct shading from an image (or N.L in its place), a depth map and a sun. The volume has half the picture's size.

    [design] beside the image's features the volume holds where the surface is and what lies right behind it, and the density starts
    as a shell there, so that rays meet something before anything is learned.
    """

    def __init__(self, features: int = 4, planes: int = 20, steps: int = 20) -> None:
        super().__init__()
        self.planes, self.steps = planes, steps
        self.features = nn.Sequential(nn.Conv2d(12, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, features, 3, padding=1))
        self.density = nn.Sequential(
            nn.Conv3d(features + 2, 8, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(8, 8, 3, padding=1),
            nn.SiLU(),
            nn.Conv3d(8, 1, 3, padding=1),
        )
        self.shading = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))
        self.refinement = Hourglass(4, 1, (16, 32, 48), residual=True)
        for layer in (self.density[-1], self.shading[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, depth: Tensor, light: Tensor, image: Tensor | None = None, normals: Tensor | None = None, focal: float = FOCAL
    ) -> Shaded:
        """``depth`` (B, H, W), ``light`` (B, 3), ``image`` (B, 3, H, W) in [0, 1] with that light, ``normals`` in view axes."""
        facing = n_dot_l(normals_of(depth, focal) if normals is None else normals, light)
        seen = facing.expand(-1, 3, -1, -1) if image is None else image
        density, planes, meant = self.volume(seen, depth)
        half = _halved(depth)
        shadow = march(density, planes, half, light, focal=focal, steps=self.steps)
        shadow = F.interpolate(shadow, size=depth.shape[-2:], mode="bilinear", align_corners=False)
        coarse = facing * shadow + self.shading(torch.cat([shadow, facing], 1))
        direct = coarse + self.refinement(torch.cat([seen, coarse], 1))
        return Shaded(direct, coarse, shadow, planes.expected(density), meant)

    def volume(self, image: Tensor, depth: Tensor) -> tuple[Tensor, Planes, Tensor]:
        """The density (B, 1, D, H / 2, W / 2), its planes, and the place of the surface among them."""
        half = _halved(depth)
        planes = Planes.of(depth, self.planes)
        surface = planes.weights(half)[:, None]
        features = self.features(F.pixel_unshuffle(image, 2))[:, :, None] * surface
        behind = F.pad(surface, (0, 0, 0, 0, 1, 0))[:, :, :-1] + F.pad(surface, (0, 0, 0, 0, 2, 0))[:, :, :-2]
        volume = torch.cat([features, surface, behind], 1)
        density = OPAQUE * F.softplus(self.density(volume) + 10 * behind - 8)
        meant = planes.place(half)
        return density, planes, torch.where(torch.isfinite(meant) & (meant < self.planes - 1), meant, torch.nan)


def shading_loss(shaded: Shaded, direct: Tensor, depth_weight: float = 1e-3) -> tuple[Tensor, dict[str, float]]:
    """L2 on the shading plus ``depth_weight`` times L2 between the density's expected depth (in planes) and the depth map."""
    shading = F.mse_loss(shaded.direct, direct) + 0.3 * F.mse_loss(shaded.coarse, direct)
    error = torch.where(torch.isnan(shaded.meant), 0.0, shaded.place - shaded.meant.nan_to_num()).square().mean()
    told = {"shading": float(F.mse_loss(shaded.direct.detach(), direct)), "depth": float(error.detach())}
    return shading + depth_weight * error, told


class GeometryNet(nn.Module):
    """A picture's depth (B, H, W), infinite where it sees sky; in units of the solids world, made for 40 degrees from top to bottom.

    [design] a plane's disparity is linear in the picture's rows and columns, so that the network adds to such a plane what stands on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.plane = nn.Parameter(torch.tensor([0.9, 0.6, 0.0]))
        self.net = Hourglass(5, 8, (24, 48, 72))
        self.last = nn.Sequential(nn.Conv2d(13, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 1, 3, padding=1))
        nn.init.zeros_(self.last[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.last[-1].bias)  # type: ignore[arg-type]

    def disparity(self, image: Tensor) -> Tensor:
        """UNIT / depth, (B, H, W), about 0 for sky."""
        height, width = image.shape[-2:]
        y, x = (torch.linspace(-1, 1, n, device=image.device) for n in (height, width))
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        at = torch.stack([rows, columns]).expand(len(image), -1, -1, -1)
        seen = torch.cat([image * 2 - 1, at], 1)
        ground = self.plane[0] + self.plane[1] * rows + self.plane[2] * columns
        return ground + self.last(torch.cat([self.net(seen), seen], 1))[:, 0]  # type: ignore[no-any-return]

    def forward(self, image: Tensor) -> Tensor:
        disparity = self.disparity(image)
        return torch.where(disparity > FAR, UNIT / disparity.clamp_min(FAR), torch.inf)


def geometry_loss(disparity: Tensor, depth: Tensor, focal: float = FOCAL) -> tuple[Tensor, dict[str, float]]:
    """L1 of the disparity, and 1 - cosine of normals taken from it and from the true depth, where something stands."""
    true = torch.where(torch.isfinite(depth), UNIT / depth, 0.0)
    first = (disparity - true).abs().mean()
    there = true > 2 * FAR
    ours = normals_of(UNIT / disparity.clamp_min(FAR), focal)
    cosine = 1 - (ours * normals_of(depth, focal)).sum(1)
    second = (cosine * there).sum() / there.sum().clamp_min(1)
    return first + 0.2 * second, {"disparity": float(first.detach()), "normals": float(second.detach())}


def _halved(depth: Tensor) -> Tensor:
    """The nearest of four pixels, (B, H, W) -> (B, H / 2, W / 2)."""
    return -F.max_pool2d(-depth[:, None], 2)[:, 0]


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.GroupNorm(8, outputs), nn.SiLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1), nn.SiLU(),
    )  # fmt: skip
