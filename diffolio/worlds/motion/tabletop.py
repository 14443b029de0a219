"""Clips of the tabletop: things that move over it, a camera that pans and zooms, and the exact flow between any two frames."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.geometry.cameras import pixel_centres
from diffolio.worlds.motion.clip import Clip
from diffolio.worlds.motion.paths import BENDS, DIRECTIONS, MOTIONS, CameraMove, Motion
from diffolio.worlds.tabletop import captions
from diffolio.worlds.tabletop.captions import describe, with_article
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS
from diffolio.worlds.tabletop.render import Rendering, render
from diffolio.worlds.tabletop.scene import Scene, Thing
from diffolio.worlds.tabletop.shapes import KIND_NAMES, silhouette

STILL_CAMERA = CameraMove()
SIZES = (0.02, 2.0)  # things are drawn within these sizes, however the camera zooms


@dataclass(frozen=True)
class Script:
    """A tabletop clip before it is drawn: a scene, what each of its things does, what the camera does, and how many frames.

    ``cyclic``: time runs full circle, so that loops close; None: if everything in the clip loops. A camera that moves wants
    a plain table and no falling snow, which hang on the picture and not on the table.
    """

    scene: Scene
    motions: tuple[Motion, ...]
    camera: CameraMove = STILL_CAMERA
    length: int = 8
    caption: str = ""
    cyclic: bool | None = None

    def __post_init__(self) -> None:
        if len(self.motions) != len(self.scene.things):
            raise BadInput(f"{len(self.motions)} motions for {len(self.scene.things)} things: give one for each")
        if not 2 <= self.length <= 256:
            raise BadInput(f"a clip of {self.length} frames: give 2 to 256")
        if not self.camera.still and (self.scene.texture != "plain" or self.scene.style == "snow"):
            raise BadInput("a camera that moves over a textured or snowy table: make the texture plain and the style flat")

    @property
    def loops(self) -> bool:
        if self.cyclic is not None:
            return self.cyclic
        return self.camera.still and all(m.loops for m in self.motions) and any(m.what != "still" for m in self.motions)

    def scene_at(self, frame: int, aspect: float = 1.0) -> Scene:
        """The scene of one frame for pictures of an aspect (width / height); a loop's frame ``length`` is its frame 0."""
        time = frame / (self.length if self.loops else self.length - 1)
        zoom, pan_x, pan_y = self.camera.at(time)
        # One unit of the shorter side, as a share of the width and of the height.
        ux, uy = (1 / aspect, 1.0) if aspect >= 1 else (1.0, aspect)
        things = []
        for thing, motion in zip(self.scene.things, self.motions, strict=True):
            o = motion.at(time)
            x, y = thing.x + o.x * ux - 0.5, thing.y + o.y * uy - 0.5
            size = min(max(thing.size * o.scale * zoom, SIZES[0]), SIZES[1])
            place = {"x": 0.5 + zoom * x + pan_x * ux, "y": 0.5 + zoom * y + pan_y * uy}
            things.append(replace(thing, **place, size=size, angle=thing.angle + o.turn))
        return replace(self.scene, things=tuple(things))

    def change(self, index: int | None = None, **what: object) -> Script:
        """The same clip with one thing (``index``) or the setting changed: its exactly edited twin, with its own caption."""
        return self._with(self.scene.change(index, **what))

    def without(self, index: int) -> Script:
        """The same clip with one thing taken away."""
        if len(self.motions) < 2 or not 0 <= index < len(self.motions):
            raise BadInput(f"thing {index} of a clip with {len(self.motions)} cannot be taken away: one must stay")
        keep = [i for i in range(len(self.motions)) if i != index]
        scene = replace(self.scene, things=tuple(self.scene.things[i] for i in keep), relation=None, subject=0)
        # What is left keeps its pace, even if it alone would loop.
        changed = replace(self, scene=scene, motions=tuple(self.motions[i] for i in keep), cyclic=self.loops)
        return replace(changed, caption=narrate(changed))

    def dressed(self, seed: int) -> Script:
        """The same trajectories with other kinds, colours and background."""
        rng = random.Random(f"dressed/{seed}")
        colours = rng.sample([c for c in COLOURS if c not in {t.colour for t in self.scene.things}], len(self.motions))
        things = tuple(
            replace(t, kind=rng.choice([k for k in KIND_NAMES if k != t.kind]), colour=c)
            for t, c in zip(self.scene.things, colours, strict=True)
        )
        ground = rng.choice([b for b in BACKGROUNDS if b != self.scene.background])
        return self._with(replace(self.scene, things=things, background=ground))

    def _with(self, scene: Scene) -> Script:
        changed = replace(self, scene=scene)
        return replace(changed, caption=narrate(changed))


def narrate(script: Script) -> str:
    """The caption: what is there and what it does, the camera's move, and the setting where it is not the ordinary one."""

    def phrase(thing: Thing, motion: Motion) -> str:
        if motion.what == "still" and len(script.motions) > 1:
            return with_article(f"still {thing.colour} {thing.kind}")
        return f"{with_article(f'{thing.colour} {thing.kind}')} {'standing still' if motion.what == 'still' else motion.words}"

    names = [phrase(t, m) for t, m in zip(script.scene.things, script.motions, strict=True)]
    text = ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
    plain = describe(replace(script.scene, things=script.scene.things[:1], relation=None, subject=0))
    first = script.scene.things[0]
    named = with_article(f"{first.colour} {first.kind}")
    text = plain.replace(named, text, 1)  # the setting in the tabletop's own words
    return f"{text} while {script.camera.words}" if not script.camera.still else text


def vocabulary() -> list[str]:
    """Every word that a caption may hold, sorted."""
    texts = [Motion(what, 1.0, path).words for what in MOTIONS for path in BENDS]
    texts += [CameraMove(pan, 1.0, zoom).words for pan in DIRECTIONS for zoom in (0.5, 2.0)]
    return sorted({*captions.vocabulary(), "standing", "while", *(word for text in texts for word in text.split())})


def render_clips(scripts: Sequence[Script], height: int = 64, width: int | None = None, chunk: int = 128) -> Tensor:
    """The frames alone, for training: (B, T, 3, H, W) in [0, 1]; all scripts of one length."""
    if not scripts:
        raise BadInput("no clip to render: give at least one script")
    if len({script.length for script in scripts}) > 1:
        raise BadInput("clips of several lengths in one batch: group them by length")
    width = height if width is None else width
    scenes = [script.scene_at(f, width / height) for script in scripts for f in range(script.length)]
    parts = [render(scenes[i : i + chunk], height, width).images for i in range(0, len(scenes), chunk)]
    return torch.cat(parts).unflatten(0, (len(scripts), scripts[0].length))


def film(script: Script, height: int = 64, width: int | None = None) -> Clip:
    """Draw a clip with its ground truth."""
    width = height if width is None else width
    scenes = [script.scene_at(f, width / height) for f in range(script.length)]
    drawn: Rendering = render(scenes, height, width)
    centres = [[(t.x * width, t.y * height) for t in scene.things] for scene in scenes]
    flows = [flow_between(script, f, f + 1, height, width) for f in range(script.length - 1)]
    return Clip(
        frames=drawn.images,
        tracks=torch.tensor(centres),
        boxes=drawn.boxes(),
        visible=drawn.visible,
        full=drawn.full,
        flow=torch.stack([flow for flow, _ in flows]),
        occluded=torch.stack([occluded for _, occluded in flows]),
        caption=script.caption or narrate(script),
        loops=script.loops,
    )


def flow_between(script: Script, start: int, end: int, height: int = 64, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Flow (2, H, W) in pixels from frame ``start`` to frame ``end`` (backwards, too), and what is occluded there, bool (H, W)."""
    width = height if width is None else width
    before, after = (script.scene_at(f, width / height) for f in (start, end))
    points = pixel_centres(height, width)
    owner = owners(before, points, height, width)
    to = _carried_by_camera(script, start, end, points, height, width)
    for k, (a, b) in enumerate(zip(before.things, after.things, strict=True)):
        moved = _from_thing(b, _to_thing(a, points, height, width), height, width)
        to = torch.where((owner == k)[..., None], moved, to)
    outside = (to < 0).any(-1) | (to[..., 0] >= width) | (to[..., 1] >= height)
    occluded = outside | (owners(after, to, height, width) != owner)
    return (to - points).permute(2, 0, 1).contiguous(), occluded


def owners(scene: Scene, points: Tensor, height: int, width: int) -> Tensor:
    """The foremost thing that covers pixel points (..., 2): its place in the scene, or -1 for the table; (...) long."""
    owner = torch.full(points.shape[:-1], -1)
    for k, thing in enumerate(scene.things):
        owner[silhouette(thing.kind)(_to_thing(thing, points, height, width)) < 0] = k
    return owner


def _frame(thing: Thing, height: int, width: int) -> tuple[Tensor, float, Tensor]:
    """A thing's centre in pixels, its half size in pixels and its rotation (2, 2)."""
    angle = torch.deg2rad(torch.tensor(thing.angle))
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return torch.tensor([thing.x * width, thing.y * height]), thing.size * min(height, width) / 2, turn


def _to_thing(thing: Thing, points: Tensor, height: int, width: int) -> Tensor:
    centre, half, turn = _frame(thing, height, width)
    return ((points - centre) / half) @ turn


def _from_thing(thing: Thing, local: Tensor, height: int, width: int) -> Tensor:
    centre, half, turn = _frame(thing, height, width)
    return (local @ turn.T) * half + centre


def _carried_by_camera(script: Script, start: int, end: int, points: Tensor, height: int, width: int) -> Tensor:
    """Where points of the table go between two frames."""
    side, middle = min(height, width), torch.tensor([width / 2, height / 2])
    last = script.length if script.loops else script.length - 1
    (zoom_a, *pan_a), (zoom_b, *pan_b) = script.camera.at(start / last), script.camera.at(end / last)
    table = (points - middle - torch.tensor(pan_a) * side) / zoom_a
    return table * zoom_b + middle + torch.tensor(pan_b) * side
