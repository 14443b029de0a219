"""What a tabletop scene is: things in depth order on a background, in a style. Resolution-free."""

from __future__ import annotations

from dataclasses import dataclass, replace

from diffolio.errors import BadInput, choose
from diffolio.worlds.tabletop.palette import BACKGROUNDS, COLOURS, STYLES, TEXTURES
from diffolio.worlds.tabletop.shapes import KINDS

SIDES = ("left of", "right of", "above", "below")  # opposites in pairs
RELATIONS: tuple[str, ...] = (*SIDES, "in front of")


@dataclass(frozen=True)
class Thing:
    """One object. ``x``, ``y`` in [0, 1] of the picture's width and height (y down), ``size`` its diameter as a fraction
    of the shorter side, ``angle`` in degrees clockwise."""

    kind: str
    colour: str
    x: float = 0.5
    y: float = 0.5
    size: float = 0.4
    angle: float = 0.0

    def __post_init__(self) -> None:
        choose("kind", self.kind, tuple(KINDS))
        choose("colour", self.colour, tuple(COLOURS))
        if not 0 < self.size <= 2:
            raise BadInput(f"size {self.size} of a {self.kind}: give a fraction of the shorter side in (0, 2]")


@dataclass(frozen=True)
class Scene:
    """Things from back to front, on a background.

    ``relation`` says how ``things[subject]`` stands to ``things[1 - subject]`` (two-object scenes), or None.
    ``seed`` draws what is random in the picture but not in the caption (texture phase, snow flakes).
    """

    things: tuple[Thing, ...]
    background: str = "white"
    texture: str = "plain"
    style: str = "flat"
    relation: str | None = None
    subject: int = 0
    caption: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        choose("background", self.background, tuple(BACKGROUNDS))
        choose("texture", self.texture, TEXTURES)
        choose("style", self.style, STYLES)
        if self.relation is not None:
            choose("relation", self.relation, RELATIONS)
        if not 1 <= len(self.things) <= 3:
            raise BadInput(f"a scene of {len(self.things)} things: give one to three")

    def change(self, index: int | None = None, **what: object) -> Scene:
        """The same scene with one thing changed (``index`` given) or with the setting changed; the caption is rewritten.

        ``scene.change(0, colour="blue")`` recolours the rearmost thing; ``scene.change(style="night")`` makes it night.
        Everything else, random parts included, stays as it was: a counterfactual twin.
        """
        from diffolio.worlds.tabletop.captions import describe

        if index is None:
            changed = replace(self, **what)  # type: ignore[arg-type]
        else:
            things = list(self.things)
            things[index] = replace(things[index], **what)  # type: ignore[arg-type]
            changed = replace(self, things=tuple(things))
        return replace(changed, caption=describe(changed))
