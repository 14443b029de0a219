"""Clips of solids: bodies that move through space before a camera that stands, orbits or comes nearer, with exact flow."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffolio.errors import BadInput, choose
from diffolio.geometry.cameras import Camera, orbit, pixel_centres
from diffolio.worlds.motion.clip import Clip, boxes_of
from diffolio.worlds.solids import Mixture as SolidsMixture
from diffolio.worlds.solids import Rendering, Scene, Solid, describe, render, sample_scenes
from diffolio.worlds.solids.trace import NOTHING, pack, trace

# World directions as the standard camera sees them: its right is +x, towards it is +z.
WAYS: dict[str, tuple[float, float, float]] = {
    "still": (0, 0, 0), "moving left": (-1, 0, 0), "moving right": (1, 0, 0), "rising": (0, 1, 0), "sinking": (0, -1, 0),
    "coming nearer": (0, 0, 1), "moving away": (0, 0, -1), "turning": (0, 0, 0),
}  # fmt: skip
CAMERA_MOVES: tuple[str, ...] = ("still", "orbits", "rises", "comes nearer", "moves back")
NEAR = 2e-3  # relative difference of distances that still means the same point


@dataclass(frozen=True)
class SolidsScript:
    """A clip of solids before it is drawn. ``ways``: what each body does, a name of WAYS; ``amount`` the way's length in world
    units (degrees for "turning"). ``camera``: a name of CAMERA_MOVES; ``swing`` the degrees of an orbit (360: it loops) or of
    a rise, or the ratio of first to last distance for nearer and back."""

    scene: Scene
    ways: tuple[str, ...]
    amount: float = 1.0
    camera: str = "still"
    swing: float = 90.0
    length: int = 8
    azimuth: float = 0.0
    elevation: float = 20.0
    radius: float = 4.5
    caption: str = ""

    def __post_init__(self) -> None:
        if len(self.ways) != len(self.scene.solids):
            raise BadInput(f"{len(self.ways)} ways for {len(self.scene.solids)} solids: give one for each")
        for way in self.ways:
            choose("way of a solid", way, tuple(WAYS))
        choose("camera move", self.camera, CAMERA_MOVES)
        if not 2 <= self.length <= 256:
            raise BadInput(f"a clip of {self.length} frames: give 2 to 256")
        if self.camera in ("comes nearer", "moves back") and not 1 <= self.swing <= 4:
            raise BadInput(f"a camera that {self.camera} by a factor of {self.swing}: give a ratio of distances in [1, 4]")

    @property
    def loops(self) -> bool:
        turning = self.camera == "orbits" and self.swing % 360 == 0 and self.swing > 0
        return turning and all(way == "still" for way in self.ways)

    def _time(self, frame: int) -> float:
        return frame / (self.length if self.loops else self.length - 1)

    def scene_at(self, frame: int) -> Scene:
        time = self._time(frame)
        bodies = []
        for solid, way in zip(self.scene.solids, self.ways, strict=True):
            along = (time - (0.0 if way in ("rising", "turning") else 1.0 if way == "sinking" else 0.5)) * self.amount
            dx, dy, dz = (along * step for step in WAYS[way])
            turn = self.amount * time if way == "turning" else 0.0
            y = solid.centre[1] + dy if dy else solid.y
            bodies.append(replace(solid, x=solid.x + dx, y=y, z=solid.z + dz, yaw=solid.yaw + turn))
        return replace(self.scene, solids=tuple(bodies))

    def cameras(self, frames: Sequence[int], size: int | tuple[int, int] = 64) -> Camera:
        azimuth, elevation, radius = [], [], []
        for frame in frames:
            time = self._time(frame)
            azimuth.append(self.azimuth + (self.swing * time if self.camera == "orbits" else 0.0))
            elevation.append(self.elevation + (self.swing * time if self.camera == "rises" else 0.0))
            power = {"comes nearer": -time, "moves back": time}.get(self.camera, 0.0)
            radius.append(self.radius * self.swing**power if power else self.radius)
        return orbit(azimuth, elevation, radius, size=size, target=(0.0, 0.45, 0.0))

    def change(self, index: int | None = None, **what: object) -> SolidsScript:
        """The same clip with one solid (``index``) or the setting changed: its exactly edited twin."""
        changed = replace(self, scene=self.scene.change(index, **what))
        return replace(changed, caption=narrate_solids(changed))

    def without(self, index: int) -> SolidsScript:
        """The same clip with one solid taken away."""
        scene = self.scene.without(index)
        changed = replace(self, scene=scene, ways=tuple(w for i, w in enumerate(self.ways) if i != index))
        return replace(changed, caption=narrate_solids(changed))


def narrate_solids(script: SolidsScript) -> str:
    """The caption: the scene's, with what each body does in the place of its name, and the camera's move."""
    text = describe(replace(script.scene, relation=None))
    for solid, way in zip(script.scene.solids, script.ways, strict=True):
        name = f"{solid.colour} {solid.kind}"
        if way != "still":
            text = text.replace(name, f"{name} {way}", 1)
    return text if script.camera == "still" else f"{text} while the camera {script.camera}"


def sample_solids_scripts(n: int, seed: int, length: int = 8, mixture: SolidsMixture | None = None) -> list[SolidsScript]:
    """``n`` clips in which the camera moves, or one body does."""
    if n < 1:
        raise BadInput(f"{n} clips asked for: give at least one")
    scenes = sample_scenes(n, seed, mixture or SolidsMixture(counts=(0.6, 0.4, 0.0), settings=(0.85, 0.15, 0.0)))
    scripts = []
    for i, scene in enumerate(scenes):
        rng = random.Random(f"solids motion/{seed}/{i}")
        ways = ["still"] * len(scene.solids)
        camera = rng.choice(CAMERA_MOVES[1:]) if rng.random() < 0.4 else "still"
        if camera == "still":
            options = ["moving left", "moving right", "coming nearer", "moving away", "turning"]
            options += ["rising", "sinking"] if scene.relation != "above" else []
            mover = rng.randrange(len(ways)) if scene.relation != "above" else 0
            if len(ways) > 1 and scene.relation != "above":  # away from the other one
                options = ["rising", "sinking", "turning"]
            ways[mover] = rng.choice(options)
        if camera == "orbits" and len(ways) == 1 and _alike_all_around(scene.solids[0]):
            camera = "rises"  # an orbit that cannot be seen is none
        swing = {"orbits": rng.choice((60.0, 90.0, 360.0)), "rises": 35.0}.get(camera, rng.uniform(1.3, 1.7))
        amount = rng.uniform(60, 120) if "turning" in ways else rng.uniform(0.8, 1.2)
        script = SolidsScript(scene, tuple(ways), amount, camera, swing, length)
        scripts.append(replace(script, caption=narrate_solids(script)))
    return scripts


def _alike_all_around(solid: Solid) -> bool:
    return solid.kind != "box" and solid.texture == "plain" and solid.tilt == 0


def film_solids(script: SolidsScript, size: int | tuple[int, int] = 64, samples: int = 2) -> tuple[Clip, Rendering]:
    """A clip with its ground truth, and the rendering of its frames with depth, normals, light and cameras."""
    scenes, cameras = [script.scene_at(f) for f in range(script.length)], script.cameras(range(script.length), size)
    drawn = render(scenes, cameras, samples=samples)
    centres = torch.tensor([[s.centre for s in scene.solids] for scene in scenes])
    flows = [solids_flow(script, f, f + 1, size) for f in range(script.length - 1)]
    clip = Clip(
        frames=drawn.rgb,
        tracks=cameras.project(centres)[0] if centres.numel() else centres.reshape(script.length, 0, 2),
        boxes=boxes_of(drawn.full),
        visible=drawn.visible,
        full=drawn.full,
        flow=torch.stack([flow for flow, _ in flows]),
        occluded=torch.stack([occluded for _, occluded in flows]),
        caption=script.caption or narrate_solids(script),
        loops=script.loops,
    )
    return clip, drawn


def solids_flow(script: SolidsScript, start: int, end: int, size: int | tuple[int, int] = 64) -> tuple[Tensor, Tensor]:
    """Flow (2, H, W) in pixels from frame ``start`` to frame ``end``, and what is occluded there, bool (H, W).

    Every pixel's point is found by its ray, carried along by its body, and looked for again by a ray from the other camera.
    """
    before, after = pack([script.scene_at(start)]), pack([script.scene_at(end)])
    camera, other = script.cameras([start], size), script.cameras([end], size)
    height, width = camera.height, camera.width
    pixels = pixel_centres(height, width).view(-1, 2)
    origin, direction = (v[0] for v in camera.rays(pixels[None]))
    direction = torch.nn.functional.normalize(direction, dim=-1)
    zero = torch.zeros(len(pixels), dtype=torch.long)
    hits = trace(before, zero, origin.expand_as(direction), direction)
    far = hits.owner == NOTHING
    point = torch.where(far[:, None], direction, origin + hits.t[:, None].nan_to_num(posinf=0.0) * direction)
    for k in range(len(script.scene.solids)):
        own = hits.owner == k
        point[own] = (after.size[0, k] * hits.local[own]) @ after.rotation[0, k].T + after.centre[0, k]
    # What is infinitely far moves with the camera's rotation alone.
    turned = point @ other.world_to_camera[0, :3, :3].T
    shift = torch.where(far[:, None], torch.zeros(1), other.world_to_camera[0, :3, 3])
    to, depth = (v[0] for v in other.project_local((turned + shift)[None]))
    eye = other.centre[0]
    way = torch.where(far[:, None], point, point - eye)
    length = torch.where(far, torch.inf, way.norm(dim=-1))
    again = trace(after, zero, eye.expand_as(way), torch.nn.functional.normalize(way, dim=-1))
    outside = (depth <= 0) | (to < 0).any(-1) | (to[:, 0] >= width) | (to[:, 1] >= height)
    occluded = outside | (again.owner != hits.owner) | (again.t < length * (1 - NEAR))
    flow = torch.where(outside[:, None] & ~torch.isfinite(to), torch.zeros(1), to - pixels)
    return flow.T.reshape(2, height, width).contiguous(), occluded.view(height, width)
