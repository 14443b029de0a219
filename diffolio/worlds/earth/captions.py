"""The caption grammar of the earth world."""

from __future__ import annotations

import random

from diffolio.worlds.earth.palette import SEASONS
from diffolio.worlds.earth.scene import PLACES, Scene

CLOSE, WIDE = 2.0, 3.3  # metres a pixel: below is called close, above wide
_FRAMES = ("an aerial view of {}", "an aerial photo of {}", "a satellite picture of {}", "{} from above")
_ROADS = ("no road", "a road", "two roads", "three roads", "a grid of streets")
_SKY = ("a clear sky", "a few clouds", "scattered clouds", "heavy clouds")
_OMIT = {"roads": 0.15, "water": 0.1, "season": 0.2, "sky": 0.2, "scale": 0.7}


def describe(scene: Scene) -> str:
    """The plain caption: place, roads, water, season and sky."""
    return caption(scene, None)


def sky(cloud_cover: float) -> str:
    """What a cloud cover is called."""
    return _SKY[sum(cloud_cover > bound for bound in (0.02, 0.2, 0.5))]


def caption(scene: Scene, rng: random.Random | None) -> str:
    """One caption of a scene. With ``rng`` None: no paraphrase and nothing left out but the scale."""

    def leave_out(part: str) -> bool:
        return rng is not None and rng.random() < _OMIT[part]

    with_ = []
    if scene.roads and not leave_out("roads"):
        with_.append(_ROADS[len(scene.roads)])
    if scene.water != "none" and not leave_out("water"):
        with_.append(f"a {scene.water}")
    text = scene.place if scene.place in ("farmland", "meadows") else f"a {scene.place}"
    text += f" with {' and '.join(with_)}" if with_ else ""
    text = (_FRAMES[0] if rng is None else rng.choice(_FRAMES)).format(text)
    if not leave_out("season"):
        text += f" in {scene.season}"
    if not leave_out("sky"):
        text += f" under {sky(scene.cloud_cover)}"
    if rng is not None and not leave_out("scale") and not CLOSE <= scene.gsd <= WIDE:
        text += ", seen close" if scene.gsd < CLOSE else ", seen wide"
    return text


def vocabulary() -> list[str]:
    """Every word that a caption may hold, sorted."""
    texts = [*_FRAMES, *_ROADS[1:], *_SKY, *SEASONS, *PLACES, "a with and in under , seen close wide river lake"]
    return sorted({word for text in texts for word in text.replace(",", " , ").split() if "{" not in word})
