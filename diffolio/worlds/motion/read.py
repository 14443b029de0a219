"""What a tabletop clip shows, told from its pixels: which things, and which way each of them goes.

Every frame is read alone by the tabletop's reader; findings of one colour are linked from frame to frame; a line through the
places and the logarithms of the sizes tells the direction.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffolio.errors import BadInput
from diffolio.worlds.motion.paths import DIRECTIONS
from diffolio.worlds.motion.tabletop import Script
from diffolio.worlds.tabletop.reader import read
from diffolio.worlds.tabletop.verdict import SURE, Found

MOVES = 0.12  # a way this long, in units of the shorter side, is a motion
SCALES = math.log(1.3)  # a change of log size this large is growth
NEIGHBOUR = 0.3  # a thing does not jump further than this from one frame to the next
READABLE = (*DIRECTIONS, "growing", "shrinking", "still")


@dataclass(frozen=True)
class Mover:
    """One thing of a clip. ``motion`` is one of the eight directions, "growing", "shrinking" or "still"; a thing that comes
    back to where it was counts as still. ``path`` (n, 3): the frame, x and y in units of the shorter side, where it was seen;
    ``way`` its straight displacement over the clip; ``ratio`` the last size to the first; ``seen`` the share of frames."""

    kind: str
    colour: str
    motion: str
    path: Tensor
    way: tuple[float, float]
    ratio: float
    seen: float
    confidence: float


@dataclass(frozen=True)
class MotionReading:
    """A clip's things, those that are seen longest first, and the setting of its middle frame."""

    movers: list[Mover]
    background: str
    style: str


def read_motion(frames: Tensor) -> MotionReading:
    """Read a clip (T, 3, H, W), float in [0, 1], of at least two frames; sides 16 to 4096 pixels."""
    if not isinstance(frames, Tensor) or frames.ndim != 4 or len(frames) < 2:
        given = tuple(frames.shape) if isinstance(frames, Tensor) else type(frames).__name__
        raise BadInput(
            f"a clip to read: got {given}, need (T, 3, H, W) with at least two frames; give one clip of a batch at a time"
        )
    readings = read(frames)
    height, width = frames.shape[-2:]
    unit = (width / min(height, width), height / min(height, width))
    chains = _linked([r.found for r in readings], unit)
    movers = [_mover(chain, len(frames), unit) for chain in chains if len(chain) >= max(2, len(frames) / 2)]
    middle = readings[len(readings) // 2]
    return MotionReading(sorted(movers, key=lambda m: -m.seen), middle.background, middle.style)


def asked(script: Script) -> list[tuple[str, str, str]]:
    """(kind, colour, motion) of each thing of a script, as a perfect reading would say it.

    Turns and loops are asked for as "still", which is all that a reader of directions can say of them.
    """
    pairs = zip(script.scene.things, script.motions, strict=True)
    return [(thing.kind, thing.colour, motion.what if motion.what in READABLE else "still") for thing, motion in pairs]


def shows(reading: MotionReading, script: Script) -> bool:
    """Whether a clip shows what a script asks: for each of its things one of its own, of that kind and colour, going that way."""
    left = list(reading.movers)
    for wanted in asked(script):
        match = next((m for m in left if (m.kind, m.colour, m.motion) == wanted and m.confidence >= SURE), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _linked(frames: Sequence[Sequence[Found]], unit: tuple[float, float]) -> list[list[tuple[int, Found]]]:
    """Findings of one colour that lie close from frame to frame, as chains of (frame, finding)."""
    chains: list[list[tuple[int, Found]]] = []
    for time, found in enumerate(frames):
        pairs = sorted(
            (_apart(chain[-1][1], thing, unit), i, j)
            for i, chain in enumerate(chains)
            for j, thing in enumerate(found)
            if chain[-1][1].colour == thing.colour
        )
        used: set[int] = set()
        grown: set[int] = set()
        for gap, i, j in pairs:
            if i in grown or j in used or gap > NEIGHBOUR * (time - chains[i][-1][0]):
                continue
            chains[i].append((time, found[j]))
            grown.add(i)
            used.add(j)
        chains += [[(time, thing)] for j, thing in enumerate(found) if j not in used]
    return chains


def _apart(a: Found, b: Found, unit: tuple[float, float]) -> float:
    return math.hypot((a.x - b.x) * unit[0], (a.y - b.y) * unit[1])


def _mover(chain: list[tuple[int, Found]], length: int, unit: tuple[float, float]) -> Mover:
    votes: Counter[str] = Counter()
    for _, thing in chain:
        votes[thing.kind] += max(thing.kind_confidence, 1e-3)
    kind = votes.most_common(1)[0][0]
    confidence = [min(t.kind_confidence, t.colour_confidence) for _, t in chain if t.kind == kind]
    # Size and place are those of the form that was fitted, so that only frames of the chosen kind can be compared.
    own = [(i, t) for i, t in chain if t.kind == kind] if votes[kind] > 0.01 and len(confidence) > 1 else chain
    rows = torch.tensor([[i, t.x * unit[0], t.y * unit[1], math.log(t.size)] for i, t in own], dtype=torch.float64)
    time = rows[:, 0] - rows[:, 0].mean()
    slope = (time[:, None] * rows[:, 1:]).sum(0) / time.square().sum().clamp_min(1e-9)
    dx, dy, growth = (slope * (length - 1)).tolist()
    return Mover(
        kind=kind,
        colour=chain[0][1].colour,
        motion=_named(dx, dy, growth, _comes_back(rows[:, 1:3]), _comes_back(rows[:, 3:])),
        path=rows[:, :3].float(),
        way=(dx, dy),
        ratio=math.exp(growth),
        seen=len(chain) / length,
        confidence=sum(confidence) / len(confidence),
    )


def _comes_back(places: Tensor) -> bool:
    """Whether the ends of a way (n, D) lie nearer to each other than its farthest places do: a loop, or one cut short."""
    return bool((places[-1] - places[0]).norm() < 0.6 * torch.cdist(places, places).max())


def _named(dx: float, dy: float, growth: float, returns: bool, breathes: bool) -> str:
    way = math.hypot(dx, dy)
    if way >= MOVES and not returns:
        cosine = {name: (dx * x + dy * y) / (way * math.hypot(x, y)) for name, (x, y) in DIRECTIONS.items()}
        return max(cosine, key=cosine.__getitem__)
    if abs(growth) >= SCALES and not breathes:
        return "growing" if growth > 0 else "shrinking"
    return "still"
