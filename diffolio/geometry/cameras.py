"""Cameras in one convention, that of OpenCV: intrinsics, poses, rays, projection; perspective and equirectangular.

Camera axes: x to the right, y *down*, z forward. World axes: right-handed, y up; the front of a thing faces +z. ``world_to_camera``
is a rigid (4, 4) matrix; ``intrinsics`` K = [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] is in pixels, and the centre of the pixel in
row 0, column 0 is at (0.5, 0.5). Matrices of gsplat (viewmats, Ks) are the same without change.

A *depth* is always the factor of a ray's direction, point = origin + depth * direction. Perspective directions have z = 1 in
the camera's frame, so that depth is the distance along the optical axis; equirectangular directions are unit vectors, so that
it is the distance from the camera's centre.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffolio.errors import BadInput

UP = (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Camera:
    """A batch of B pinhole cameras, or of equirectangular ones where ``intrinsics`` is None.

    ``world_to_camera`` (B, 4, 4), ``intrinsics`` (B, 3, 3) in pixels, ``height`` and ``width`` of the picture in pixels.
    """

    world_to_camera: Tensor
    intrinsics: Tensor | None
    height: int
    width: int

    def __post_init__(self) -> None:
        pose, k = self.world_to_camera, self.intrinsics
        if pose.ndim != 3 or pose.shape[1:] != (4, 4):
            raise BadInput(f"world_to_camera of shape {tuple(pose.shape)}: give (B, 4, 4); a single pose as pose[None]")
        if k is not None and (k.ndim != 3 or k.shape[1:] != (3, 3) or len(k) != len(pose)):
            raise BadInput(f"intrinsics of shape {tuple(k.shape)} for {len(pose)} poses: give (B, 3, 3), one for each pose")
        if self.height < 1 or self.width < 1:
            raise BadInput(f"a picture of {self.width}x{self.height} pixels: each side must be at least 1")

    def __len__(self) -> int:
        return len(self.world_to_camera)

    def __getitem__(self, index: int | slice | Tensor | Sequence[int]) -> Camera:
        """Some of the cameras, always as a batch: ``cameras[3]`` is a batch of one."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"camera {index} of {len(self)}")
            index = [index]
        k = None if self.intrinsics is None else self.intrinsics[index]
        return replace(self, world_to_camera=self.world_to_camera[index], intrinsics=k)

    @property
    def panoramic(self) -> bool:
        return self.intrinsics is None

    @property
    def centre(self) -> Tensor:
        """Where the cameras stand in the world: (B, 3)."""
        rotation, shift = self.world_to_camera[:, :3, :3], self.world_to_camera[:, :3, 3]
        return -torch.einsum("bji,bj->bi", rotation, shift)

    @property
    def forward(self) -> Tensor:
        """The optical axes in the world, unit length: (B, 3)."""
        return self.world_to_camera[:, 2, :3]

    def resized(self, height: int, width: int) -> Camera:
        """The same view drawn with another number of pixels."""
        k = self.intrinsics
        if k is not None:
            k = k * k.new_tensor([width / self.width, height / self.height, 1.0])[:, None]
        return replace(self, intrinsics=k, height=height, width=width)

    def rays(self, pixels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Origins (B, 3) and world directions (B, ..., 3) through pixel points (B, ..., 2), each (x right, y down).

        Without ``pixels``: through the centre of every pixel, directions (B, H, W, 3).
        """
        points = pixels
        if points is None:
            points = pixel_centres(self.height, self.width).to(self.world_to_camera).expand(len(self), -1, -1, -1)
        local = equirectangular_directions(points, self.height, self.width) if self.panoramic else self._pinhole(points)
        return self.centre, torch.einsum("bji,b...j->b...i", self.world_to_camera[:, :3, :3], local)

    def _pinhole(self, points: Tensor) -> Tensor:
        assert self.intrinsics is not None
        k = self.intrinsics.view(len(self), *([1] * (points.ndim - 2)), 3, 3)
        y = (points[..., 1] - k[..., 1, 2]) / k[..., 1, 1]
        x = (points[..., 0] - k[..., 0, 2] - k[..., 0, 1] * y) / k[..., 0, 0]
        return torch.stack([x, y, torch.ones_like(x)], -1)

    def unproject(self, depth: Tensor) -> Tensor:
        """World points (B, H, W, 3) of a depth map (B, H, W)."""
        origin, direction = self.rays()
        return origin[:, None, None] + depth[..., None] * direction

    def to_camera(self, points: Tensor) -> Tensor:
        """World points (B, ..., 3) in the cameras' frames."""
        shift = self.world_to_camera[:, :3, 3].view(len(self), *([1] * (points.ndim - 2)), 3)
        return torch.einsum("bij,b...j->b...i", self.world_to_camera[:, :3, :3], points) + shift

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel points (B, ..., 2) and depths (B, ...) of world points (B, ..., 3).

        A pinhole camera sees what has a positive depth; pixel points of other depths mean nothing (and may be infinite).
        """
        return self.project_local(self.to_camera(points))

    def project_local(self, local: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`project`, of points or directions (B, ..., 3) that are in the cameras' frames already."""
        if self.intrinsics is None:
            return equirectangular_pixels(local, self.height, self.width), local.norm(dim=-1)
        k = self.intrinsics.view(len(self), *([1] * (local.ndim - 2)), 3, 3)
        depth = local[..., 2]
        pixels = torch.einsum("b...ij,b...j->b...i", k[..., :2, :].expand(*local.shape[:-1], 2, 3), local) / depth[..., None]
        return pixels, depth

    def relative_to(self, other: Camera) -> Tensor:
        """Matrices (B, 4, 4) that take points from ``other``'s frame to this one's."""
        return self.world_to_camera @ inverse_pose(other.world_to_camera)

    def plucker(self) -> Tensor:
        """The rays of all pixels as lines: moment o x d and unit direction d, (B, 6, H, W)."""
        origin, direction = self.rays()
        direction = direction / direction.norm(dim=-1, keepdim=True)
        moment = torch.linalg.cross(origin[:, None, None].expand_as(direction), direction)
        return torch.cat([moment, direction], -1).permute(0, 3, 1, 2)


def pixel_centres(height: int, width: int) -> Tensor:
    """The points (x, y) at the centres of all pixels: (H, W, 2)."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], -1)


def intrinsics(fovy: float, height: int, width: int) -> Tensor:
    """K (3, 3) of a camera with square pixels that sees ``fovy`` degrees from top to bottom, centred."""
    if not 0 < fovy < 180:
        raise BadInput(f"a vertical field of view of {fovy} degrees: it must lie in (0, 180); a wider view is equirectangular")
    focal = height / 2 / math.tan(math.radians(fovy) / 2)
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])


def look_at(eye: Tensor, target: Tensor, up: Sequence[float] = UP) -> Tensor:
    """world_to_camera (B, 4, 4) of cameras at ``eye`` (B, 3) that look at ``target`` (B, 3) or (3,), the horizon level."""
    forward = target.to(eye).expand_as(eye) - eye
    length = forward.norm(dim=-1, keepdim=True)
    if not bool((length > 1e-6).all()):
        raise BadInput("a camera stands on the point that it looks at: move its eye or its target")
    forward = forward / length
    right = torch.linalg.cross(forward, eye.new_tensor(up).expand_as(eye))
    width = right.norm(dim=-1, keepdim=True)
    if not bool((width > 1e-6).all()):
        raise BadInput("a camera looks straight along 'up', so that right is undefined: tilt it, or give another 'up'")
    right = right / width
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], -2)
    pose = torch.zeros(len(eye), 4, 4, dtype=eye.dtype, device=eye.device)
    pose[:, :3, :3], pose[:, 3, 3] = rotation, 1.0
    pose[:, :3, 3] = -torch.einsum("bij,bj->bi", rotation, eye)
    return pose


def on_sphere(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Unit vectors (..., 3): azimuth 0 is +z and grows towards +x, elevation grows towards +y, both in degrees."""
    azimuth, elevation = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    level = elevation.cos()
    return torch.stack([azimuth.sin() * level, elevation.sin(), azimuth.cos() * level], -1)


def orbit(
    azimuth: Tensor | Sequence[float] | float,
    elevation: Tensor | Sequence[float] | float = 20.0,
    radius: Tensor | Sequence[float] | float = 4.0,
    *,
    fovy: float = 40.0,
    size: int | tuple[int, int] = 64,
    target: Sequence[float] = (0.0, 0.0, 0.0),
) -> Camera:
    """Cameras around ``target`` that look at it. ``azimuth``, ``elevation`` in degrees, ``radius`` in world units; any of the
    three may be one number for all. Azimuth 0 sees the front and grows as the viewer walks to the right; elevation > 0 looks
    down from above. ``size``: the side, or (height, width), in pixels."""
    values = [torch.as_tensor(v, dtype=torch.float32).reshape(-1) for v in (azimuth, elevation, radius)]
    a, e, r = torch.broadcast_tensors(*values)
    if not bool((e.abs() < 89.99).all()):
        raise BadInput("elevations must lie strictly between -90 and 90 degrees: straight above there is no level horizon")
    if not bool((r > 0).all()):
        raise BadInput(f"an orbit of radius {float(r.min()):g}: radii must be positive")
    height, width = (size, size) if isinstance(size, int) else size
    middle = torch.tensor(target, dtype=torch.float32)
    pose = look_at(middle + r[:, None] * on_sphere(a, e), middle)
    return Camera(pose, intrinsics(fovy, height, width).expand(len(pose), 3, 3), height, width)


def panorama(eye: Tensor | Sequence[float] = (0.0, 1.0, 0.0), heading: float = 0.0, height: int = 64) -> Camera:
    """Equirectangular cameras (2 * height wide) at ``eye`` (3,) or (B, 3); the middle column looks to -z turned by ``heading``
    degrees to the right."""
    eye = torch.as_tensor(eye, dtype=torch.float32).reshape(-1, 3)
    ahead = on_sphere(torch.tensor(180.0 - heading), torch.tensor(0.0))
    return Camera(look_at(eye, eye + ahead), None, height, 2 * height)


def cat(cameras: Sequence[Camera]) -> Camera:
    """Cameras of one size and kind as one batch."""
    if not cameras:
        raise BadInput("no camera to join: give at least one")
    if len({(c.height, c.width, c.panoramic) for c in cameras}) > 1:
        raise BadInput("cameras of several sizes or kinds: bring them to one with resized()")
    ks = [c.intrinsics for c in cameras if c.intrinsics is not None]
    return replace(
        cameras[0], world_to_camera=torch.cat([c.world_to_camera for c in cameras]), intrinsics=torch.cat(ks) if ks else None
    )


def inverse_pose(pose: Tensor) -> Tensor:
    """The inverse of rigid matrices (B, 4, 4)."""
    rotation = pose[:, :3, :3].transpose(-1, -2)
    inverse = torch.zeros_like(pose)
    inverse[:, :3, :3], inverse[:, 3, 3] = rotation, 1.0
    inverse[:, :3, 3] = -torch.einsum("bij,bj->bi", rotation, pose[:, :3, 3])
    return inverse


def to_opengl(world_to_camera: Tensor) -> Tensor:
    """OpenCV world_to_camera (B, 4, 4) as OpenGL camera_to_world (Blender, NeRF's transforms.json): y up, looking along -z."""
    return inverse_pose(world_to_camera) * world_to_camera.new_tensor([1.0, -1.0, -1.0, 1.0])


def from_opengl(camera_to_world: Tensor) -> Tensor:
    """The way back of :func:`to_opengl`."""
    return inverse_pose(camera_to_world * camera_to_world.new_tensor([1.0, -1.0, -1.0, 1.0]))


def equirectangular_directions(pixels: Tensor, height: int, width: int) -> Tensor:
    """Unit directions (..., 3) in the camera's frame of pixel points (..., 2): columns are longitudes from -180 to 180 degrees
    (forward in the middle, growing to the right), rows are latitudes from straight up to straight down."""
    longitude = (pixels[..., 0] / width - 0.5) * (2 * math.pi)
    latitude = (0.5 - pixels[..., 1] / height) * math.pi
    level = latitude.cos()
    return torch.stack([longitude.sin() * level, -latitude.sin(), longitude.cos() * level], -1)


def equirectangular_pixels(local: Tensor, height: int, width: int) -> Tensor:
    """Pixel points (..., 2) of directions of any length (..., 3) in the camera's frame; x in [0, width], which wraps."""
    longitude = torch.atan2(local[..., 0], local[..., 2])
    latitude = torch.atan2(-local[..., 1], torch.hypot(local[..., 0], local[..., 2]))
    return torch.stack([(longitude / (2 * math.pi) + 0.5) * width, (0.5 - latitude / math.pi) * height], -1)
