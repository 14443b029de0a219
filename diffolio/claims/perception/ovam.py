"""OVAM: do a word's maps find its object, also when the word is not in the prompt, and does a learned token find it better?

Truth on generated pictures is the palette oracle's: what the world's reader sees as the object. On real renders it is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, Claim, Outcome, Row

CLAIM = Claim(
    method="ovam",
    metric="mean IoU on held-out pictures, learned token / plain word",
    paper_says="learned tokens lift the best existing method from 52.1 to 86.6 mIoU on synthetic pictures (1.66x)",
    bar=AtLeast(1.25),
)
CANDIDATES, HELD_OUT, STEPS, SEED, SIZE = 16, 10, 25, 4000, (64, 64)
THRESHOLDS = tuple(np.linspace(0.2, 0.95, 16))


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.methods.perception.ovam import OVAM, overlay
    from diffolio.models import load
    from diffolio.models.images import sheet
    from diffolio.worlds.tabletop import COLOURS, KIND_NAMES, read

    model, colours = load("mini-sd"), list(COLOURS)

    def attended(prompts: list[str], seed: int) -> tuple[Any, Tensor]:
        with OVAM().on(model):
            images = model.sample(prompts, seed=seed, steps=STEPS, guidance_scale=4.0).images
        return model.reports["ovam"], images

    plain, learned, inside, absent, stray = [], [], [], [], []
    rows: dict[str, list[Tensor]] = {"picture": [], "plain word": [], "learned token": [], "oracle": []}
    for number, kind in enumerate(KIND_NAMES):
        asked = [colours[(number + i) % 8] for i in range(CANDIDATES)]
        maps, images = attended([f"a {colour} {kind}" for colour in asked], SEED + 1000 * number)
        masks, chosen = oracle(read(images), [(colour, kind) for colour in asked])
        if len(chosen) < 3:
            continue
        train, test = chosen[:1], chosen[1 : HELD_OUT + 1]
        # Words and tokens alike choose their threshold on the one annotated picture.
        token = subset(maps, train).fit_token(masks[train], kind)
        held = subset(maps, test)
        for target, word in ((plain, kind), (learned, token)):
            at = best_threshold(subset(maps, train), word, masks[train])
            target += iou(held.mask(word, threshold=at, size=SIZE), masks[test]).tolist()
        if len(rows["picture"]) < 8:
            rows["picture"].append(images[test[0]])
            rows["plain word"].append(overlay(images[test[0]], held.word(kind, size=SIZE)[0]))
            rows["learned token"].append(overlay(images[test[0]], held.maps(token, SIZE)[0, 1]))
            rows["oracle"].append(masks[test[0]].float().expand(3, -1, -1))

        # A word of the prompt: its colour. Absent from the prompt: the colour of what "a <kind>" happened to give.
        for i in test:
            inside += word_iou(subset(maps, [i]), asked[i], kind, masks[[i]])
        maps, images = attended([f"a {kind}"] * CANDIDATES, SEED + 1000 * number + 500)
        readings = read(images)
        seen = [r.found[0].colour if r.found else "" for r in readings]
        masks, chosen = oracle(readings, [(colour, kind) for colour in seen])
        for i in chosen[:HELD_OUT]:
            absent += word_iou(subset(maps, [i]), seen[i], kind, masks[[i]])
            other = colours[(colours.index(seen[i]) + 3) % 8]
            stray += word_iou(subset(maps, [i]), other, kind, masks[[i]])
    return Outcome(
        Row(CLAIM.metric, learned, plain, CLAIM.bar),
        more=[
            Row("IoU of words absent from the prompt / words of the prompt", absent, inside, AtLeast(0.8), paired=False),
            Row("IoU of words absent from the prompt / of a colour that is not there", absent, stray, AtLeast(2.0)),
            *real_rows(model),
        ],
        picture=sheet({title: torch.stack(pictures) for title, pictures in rows.items()}, []),
        seeds=f"noise from {SEED}, 1000 apart per kind; one annotated and up to {HELD_OUT} held-out pictures per kind",
    )


def real_rows(model: Any) -> list[Row]:
    """The same on true renders, whose masks are exact: one noised pass at three noise levels, learned token against word."""
    from diffolio.methods.perception.ovam import attribute
    from diffolio.worlds.tabletop import COLOURS, KIND_NAMES, Scene, Thing, render

    plain, learned = [], []
    rng = np.random.default_rng(SEED)
    for kind in KIND_NAMES:
        scenes = [
            Scene(
                (Thing(kind, list(COLOURS)[i % 8], *rng.uniform(0.35, 0.65, 2).tolist(), float(rng.uniform(0.35, 0.6))),), "cream"
            )
            for i in range(9)
        ]
        drawn = render(scenes, 64)
        masks = drawn.full[:, 0]
        maps = attribute(model, drawn.images, seed=SEED)
        train, test = [0], list(range(1, 9))
        token = subset(maps, train).fit_token(masks[train], kind)
        for target, word in ((plain, kind), (learned, token)):
            at = best_threshold(subset(maps, train), word, masks[train])
            target += iou(subset(maps, test).mask(word, threshold=at, size=SIZE), masks[test]).tolist()
    return [Row("true renders: IoU of the learned token / the plain word", learned, plain)]


def oracle(readings: list[Any], wanted: list[tuple[str, str]]) -> tuple[Tensor, list[int]]:
    """Masks (B, H, W) of the largest thing found, and which pictures show just the thing that was asked for."""
    masks, chosen = [], []
    for i, (reading, (colour, kind)) in enumerate(zip(readings, wanted, strict=True)):
        first = reading.found[0] if reading.found else None
        masks.append(first.mask if first else torch.zeros(SIZE, dtype=torch.bool))
        if first and reading.count == 1 and (first.colour, first.kind) == (colour, kind):
            chosen.append(i)
    return torch.stack(masks), chosen


def subset(maps: Any, index: list[int]) -> Any:
    """The maps of some of the pictures: queries are (rows, B, heads, tokens, d)."""
    from dataclasses import replace

    return replace(maps, queries={path: [q[:, index] for q in steps] for path, steps in maps.queries.items()})


def word_iou(maps: Any, colour: str, kind: str, masks: Tensor) -> list[float]:
    found: list[float] = iou(maps.mask(colour, f"a {colour} {kind}", size=SIZE), masks).tolist()
    return found


def best_threshold(maps: Any, word: Any, masks: Tensor) -> float:
    scores = [iou(maps.mask(word, threshold=float(t), size=SIZE), masks).mean().item() for t in THRESHOLDS]
    return float(THRESHOLDS[int(np.argmax(scores))])


def iou(found: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union per picture, bool (B, H, W) -> (B,)."""
    both, either = (found & truth).sum((-2, -1)), (found | truth).sum((-2, -1))
    return both / either.clamp_min(1)
