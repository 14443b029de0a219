"""Attribute control: does a direction on one subject's word change how large that thing is, evenly, and nothing else?

Directions are learned on some kinds of thing and measured on others; the exact reader measures sizes and colours. Seeds of the learning
do not overlap those of the pictures.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, Claim, Outcome, Row

if TYPE_CHECKING:
    from diffolio.models import Model
    from diffolio.models.deltas import Delta
    from diffolio.worlds.tabletop import Found

CLAIM = Claim(
    method="attribute_control",
    metric="rank correlation of the strength with the subject's size, over nine strengths",
    paper_says="no numbers: fine-grained, subject-specific, composable control without changing the model; learned beats CLIP differences",
    bar=AtLeast(0.8),
)
LEARNED, MEASURED = (
    ("circle", "square", "star", "heart", "house", "tree"),
    ("fish", "boat", "mushroom", "triangle", "ring", "cross"),
)
STRENGTHS, PROMPTS, STEPS, GUIDANCE = torch.linspace(-2, 2, 9).tolist(), 16, 20, 4.0
LEARNING = {"steps": 100, "batch": 4, "scales": 4, "sampling_steps": 15, "trajectories": 32}
SEED, LEARNING_SEED = 970_000, 700_000


def measure(*, retrain: bool = False) -> Outcome:
    """The directions take about a minute each and are learned in every run, so that ``retrain`` changes nothing."""
    from diffolio.models import load
    from diffolio.models.images import sheet

    model = load("mini-sd")
    size, redness = directions(model, "large", "small"), directions(model, "red", "blue")
    cases = drawn(PROMPTS)

    swept = {name: sweep(model, cases, size[name]) for name in ("learned", "naive")}
    swept["all tokens"] = sweep(model, cases, size["learned"], everywhere=True)
    own = {name: [trend(row, 0) for row in rows] for name, (_, rows) in swept.items()}
    other = {name: [trend(row, 1) for row in rows] for name, (_, rows) in swept.items()}
    order = {name: [ranks(row) for row in rows] for name, (_, rows) in swept.items()}
    reach = {name: [span(row) for row in rows] for name, (_, rows) in swept.items()}
    apart = {name: selectivity(own[name], other[name]) for name in own}
    both, pair_picture = combined(model, cases, size["learned"], redness["learned"])
    seen = [sum(pair is not None for pair in row) / len(row) for row in swept["learned"][1]]

    return Outcome(
        Row(CLAIM.metric, order["learned"], None, CLAIM.bar),
        more=[
            Row("slope of the subject's size / largest slope of the other's, learned", [apart["learned"]], None, AtLeast(3.0)),
            Row("the same with the direction on all tokens", [apart["all tokens"]], note="no subject is meant: about 1"),
            Row("largest minus smallest size, learned / optimisation-free", reach["learned"], reach["naive"], AtLeast(1.3)),
            Row("two directions on one subject: size follows the sign asked for", both["size"], None, AtLeast(0.8)),
            Row("two directions on one subject: colour follows the sign asked for", both["redness"], None, AtLeast(0.8)),
            Row("rank correlation, optimisation-free", order["naive"]),
            Row("change of the subject's size per unit of strength", own["learned"]),
            Row("change of the other thing's size per unit of strength", other["learned"]),
            Row("share of pictures in which the reader finds both things", seen),
        ],
        picture=sheet(
            {
                "learned": swept["learned"][0][0], "learned, 2": swept["learned"][0][1], "optimisation-free": swept["naive"][0][0],
                "on all tokens": swept["all tokens"][0][0], "size, redness": pair_picture,
            },
            [f"{alpha:+.1f} {cases[0][0]}" for alpha in STRENGTHS],
        ),
        seeds=f"learning {LEARNING_SEED}.., pictures {SEED}..{SEED + PROMPTS}",
        notes=f"learned on {', '.join(LEARNED)}; measured on {', '.join(MEASURED)}",
        details={"size": size["learned"].as_dict(), "redness": redness["learned"].as_dict()},
    )  # fmt: skip


def directions(model: Model, more: str, less: str) -> dict[str, Delta]:
    from diffolio.methods.editing.attribute_control import Pair, learn, naive

    pairs = [Pair(kind, f"{more} {kind}", f"{less} {kind}") for kind in LEARNED]
    return {"learned": learn(model, pairs, seed=LEARNING_SEED, **LEARNING), "naive": naive(model, pairs)}  # type: ignore[arg-type]


def drawn(n: int) -> list[tuple[str, str, str]]:
    """Prompts of two things of kinds and in colours of their own, and the kinds of the subject and of the other."""
    from diffolio.worlds.tabletop import COLOURS

    rng, found = random.Random(SEED), []
    colours = [colour for colour in COLOURS if colour not in ("red", "blue")]
    for _ in range(n):
        (a, b), (x, y) = rng.sample(MEASURED, 2), rng.sample(colours, 2)
        found.append((f"a {x} {a} {rng.choice(('left of', 'right of'))} a {y} {b}", a, b))
    return found


def sampled(
    model: Model, cases: Sequence[tuple[str, str, str]], controls: Sequence[tuple[Delta, float]], everywhere: bool
) -> Tensor:
    """One picture a prompt, with every control on its subject, or on all its words."""
    from diffolio.methods.editing.attribute_control import AttributeControl

    groups: dict[str, list[int]] = {}
    for i, (prompt, subject, _) in enumerate(cases):
        groups.setdefault(prompt if everywhere else subject, []).append(i)
    images: dict[int, Tensor] = {}
    for subject, members in groups.items():
        method = AttributeControl(tuple((delta, subject, alpha) for delta, alpha in controls))
        with method.on(model):
            made = model.sample(
                [cases[i][0] for i in members], seed=[SEED + i for i in members], steps=STEPS, guidance_scale=GUIDANCE
            )
        images |= dict(zip(members, made.images, strict=True))
    return torch.stack([images[i] for i in range(len(cases))])


Sizes = tuple[float, float] | None


def sweep(
    model: Model, cases: Sequence[tuple[str, str, str]], delta: Delta, everywhere: bool = False
) -> tuple[list[Tensor], list[list[Sizes]]]:
    """By prompt: the pictures at all strengths, and the sizes of subject and other where the reader finds both."""
    by_strength = [sampled(model, cases, [(delta, alpha)], everywhere) for alpha in STRENGTHS]
    pictures = [torch.stack([images[i] for images in by_strength]) for i in range(len(cases))]
    return pictures, [[sizes(x, case) for x in row] for row, case in zip(pictures, cases, strict=True)]


def sizes(image: Tensor, case: tuple[str, str, str]) -> Sizes:
    things = [thing(image, kind) for kind in case[1:]]
    return None if things[0] is None or things[1] is None else (things[0].size, things[1].size)


def thing(image: Tensor, kind: str) -> Found | None:
    """The surest thing of a kind."""
    from diffolio.worlds.tabletop import read

    return max((f for f in read(image[None])[0].found if f.kind == kind), key=lambda f: f.confidence, default=None)


def trend(row: Sequence[Sizes], which: int) -> float:
    """The slope of a thing's size over the strength, by least squares over the pictures that show both; 0 with fewer than three."""
    import numpy as np

    known = [(alpha, pair[which]) for alpha, pair in zip(STRENGTHS, row, strict=True) if pair is not None]
    return float(np.polyfit([a for a, _ in known], [size for _, size in known], 1)[0]) if len(known) > 2 else 0.0


def ranks(row: Sequence[Sizes]) -> float:
    """Spearman's correlation of strength and the subject's size; 0 with fewer than four pictures to go by."""
    from scipy.stats import spearmanr

    known = [(alpha, pair[0]) for alpha, pair in zip(STRENGTHS, row, strict=True) if pair is not None]
    if len(known) < 4 or len({size for _, size in known}) < 2:
        return 0.0
    return float(spearmanr(*zip(*known, strict=True)).statistic)


def span(row: Sequence[Sizes]) -> float:
    """Largest minus smallest size of the subject; 0 where it is never seen."""
    known = [pair[0] for pair in row if pair is not None]
    return max(known) - min(known) if known else 0.0


def selectivity(own: Sequence[float], other: Sequence[float]) -> float:
    """The subject's mean slope over the magnitude of the other's."""
    return (sum(own) / len(own)) / max(abs(sum(other) / len(other)), 1e-6)


def combined(model: Model, cases: Sequence[Any], size: Delta, redness: Delta) -> tuple[dict[str, list[float]], Tensor]:
    """All four sign combinations at strength 1.5 on one subject: by prompt, the share of the comparisons that go the way asked for."""
    signs = [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)]
    images = [sampled(model, cases, [(size, 1.5 * a), (redness, 1.5 * b)], everywhere=False) for a, b in signs]
    right: dict[str, list[float]] = {"size": [], "redness": []}
    for i, case in enumerate(cases):
        found = [thing(x[i], case[1]) for x in images]
        red = [None if f is None else float((x[i][0] - x[i][2])[f.mask].mean()) for f, x in zip(found, images, strict=True)]
        large = [None if f is None else f.size for f in found]
        # Pairs that differ in one sign only; a thing that is not seen follows nothing.
        for name, values, pairs in (("size", large, ((0, 2), (1, 3))), ("redness", red, ((0, 1), (2, 3)))):
            follows = [values[a] is not None and values[b] is not None and values[b] > values[a] for a, b in pairs]  # type: ignore[operator]
            right[name].append(sum(follows) / len(follows))
    return right, torch.stack([x[0] for x in images])
