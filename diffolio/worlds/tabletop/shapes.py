"""The kinds of the tabletop world as signed distance functions.

A kind is a list of parts; a part is a distance function and a paint. Points are given in the object's own frame:
``p`` of shape (..., 2), x to the right and y *down*, the object inside the square [-1, 1]^2. Distances (...) are negative
inside. Distances are exact or a lower bound near the boundary, which is all that anti-aliasing needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Distance = Callable[[Tensor], Tensor]
Part = tuple[Distance, str]  # (distance, paint), painted in order; paint is "colour", "ink", "bone" or "stone"


def disc(x: float, y: float, radius: float) -> Distance:
    def distance(p: Tensor) -> Tensor:
        return torch.hypot(p[..., 0] - x, p[..., 1] - y) - radius

    return distance


def box(x: float, y: float, half_width: float, half_height: float) -> Distance:
    def distance(p: Tensor) -> Tensor:
        dx = (p[..., 0] - x).abs() - half_width
        dy = (p[..., 1] - y).abs() - half_height
        return torch.maximum(dx, dy)

    return distance


def ellipse(x: float, y: float, rx: float, ry: float) -> Distance:
    def distance(p: Tensor) -> Tensor:
        return (torch.hypot((p[..., 0] - x) / rx, (p[..., 1] - y) / ry) - 1) * min(rx, ry)

    return distance


def convex(points: Sequence[tuple[float, float]]) -> Distance:
    """A convex polygon, points clockwise as seen on the screen (y down): the largest of its half-plane distances."""
    planes = []
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        nx, ny = y1 - y0, x0 - x1
        length = (nx * nx + ny * ny) ** 0.5
        planes.append((nx / length, ny / length, (nx * x0 + ny * y0) / length))

    def distance(p: Tensor) -> Tensor:
        x, y = p[..., 0], p[..., 1]
        result = None
        for nx, ny, offset in planes:
            plane = x * nx + y * ny - offset
            result = plane if result is None else torch.maximum(result, plane)
        assert result is not None
        return result

    return distance


def union(*parts: Distance) -> Distance:
    def distance(p: Tensor) -> Tensor:
        result = parts[0](p)
        for part in parts[1:]:
            result = torch.minimum(result, part(p))
        return result

    return distance


def ring(radius: float, half_width: float) -> Distance:
    def distance(p: Tensor) -> Tensor:
        return (torch.hypot(p[..., 0], p[..., 1]) - radius).abs() - half_width

    return distance


def star(points: int, outer: float, inner: float) -> Distance:
    """A star by folding the plane into one half of one arm."""
    sector = torch.pi / points
    # Edge from the tip (outer, 0) to the notch (inner * cos, inner * sin), in the folded frame.
    notch_x, notch_y = inner * float(torch.cos(torch.tensor(sector))), inner * float(torch.sin(torch.tensor(sector)))
    nx, ny = notch_y, outer - notch_x
    length = (nx * nx + ny * ny) ** 0.5
    nx, ny, offset = nx / length, ny / length, nx * outer / length

    def distance(p: Tensor) -> Tensor:
        radius = torch.hypot(p[..., 0], p[..., 1])
        angle = torch.atan2(p[..., 0], -p[..., 1])  # zero at the top
        folded = (torch.remainder(angle + sector, 2 * sector) - sector).abs()
        return radius * torch.cos(folded) * nx + radius * torch.sin(folded) * ny - offset

    return distance


def half_disc(x: float, y: float, rx: float, ry: float) -> Distance:
    """The upper half of an ellipse, flat side at ``y``."""
    whole = ellipse(x, y, rx, ry)

    def distance(p: Tensor) -> Tensor:
        return torch.maximum(whole(p), p[..., 1] - y)

    return distance


KINDS: dict[str, list[Part]] = {
    "circle": [(disc(0, 0, 0.86), "colour")],
    "square": [(box(0, 0, 0.76, 0.76), "colour")],
    "triangle": [(convex([(0, -0.92), (0.95, 0.74), (-0.95, 0.74)]), "colour")],
    "star": [(star(5, 1.0, 0.42), "colour")],
    "ring": [(ring(0.66, 0.25), "colour")],
    "cross": [(union(box(0, 0, 0.92, 0.29), box(0, 0, 0.29, 0.92)), "colour")],
    "heart": [
        (
            union(
                disc(-0.42, -0.34, 0.47),
                disc(0.42, -0.34, 0.47),
                convex([(-0.40, -0.36), (0.40, -0.36), (0.785, -0.04), (0, 0.92), (-0.785, -0.04)]),
            ),
            "colour",
        )
    ],
    "house": [
        (union(box(0, 0.36, 0.64, 0.50), convex([(0, -0.95), (0.94, -0.10), (-0.94, -0.10)])), "colour"),
        (box(-0.25, 0.56, 0.17, 0.30), "ink"),
        (box(0.30, 0.26, 0.17, 0.17), "bone"),
    ],
    "tree": [
        (box(0, 0.72, 0.15, 0.24), "ink"),
        (union(convex([(0, -0.98), (0.60, -0.10), (-0.60, -0.10)]), convex([(0, -0.55), (0.84, 0.52), (-0.84, 0.52)])), "colour"),
    ],
    "fish": [
        (union(ellipse(-0.22, 0, 0.72, 0.50), convex([(0.26, 0), (0.95, -0.52), (0.95, 0.52)])), "colour"),
        (disc(-0.56, -0.12, 0.12), "ink"),
    ],
    "boat": [
        (box(-0.06, -0.20, 0.07, 0.70), "ink"),
        (
            union(
                convex([(-0.94, 0.30), (0.94, 0.30), (0.60, 0.84), (-0.60, 0.84)]),
                convex([(0.10, -0.88), (0.78, 0.12), (0.10, 0.12)]),
            ),
            "colour",
        ),
    ],
    "mushroom": [
        (box(0, 0.46, 0.26, 0.46), "stone"),
        (half_disc(0, 0.14, 0.94, 1.0), "colour"),
        (union(disc(-0.42, -0.20, 0.15), disc(0.10, -0.52, 0.17), disc(0.46, -0.12, 0.13)), "bone"),
    ],
}
KIND_NAMES: tuple[str, ...] = tuple(KINDS)

# Drawn where a scene asks for it by name, and never by chance: scenes, captions and the reader know the kinds above.
ARROW = "arrow"  # upright, it points to the top of the picture
KINDS[ARROW] = [(union(convex([(0, -0.96), (0.80, -0.04), (-0.80, -0.04)]), box(0, 0.42, 0.27, 0.52)), "colour")]


def silhouette(kind: str) -> Distance:
    """The distance to everything that a kind paints."""
    return union(*(distance for distance, _ in KINDS[kind]))
