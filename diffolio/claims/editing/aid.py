"""AID: do pictures between two prompts change evenly, and are they pictures of something?

The baseline interpolates the prompts' embeddings over the same noise at even places. Judge "a" chooses the places, judge "b" scores.
"""

from __future__ import annotations

import random
from dataclasses import replace

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, AtMost, Claim, Outcome, Row

CLAIM = Claim(
    method="aid",
    metric="mean perceptual distance of neighbours, AID / embeddings alone (consistency, lower is better)",
    paper_says="CIFAR-10 prompts: consistency 0.291 against 0.365 for embeddings alone, smoothness 0.783 against 0.753",
    bar=AtMost(0.9),
    weights=("mini-clip-a", "mini-clip-b"),
)
PAIRS, SIDES, GUIDED, IMAGES, EXPLORED, STEPS, SEED = 12, 6, 12, 7, 9, 25, 940_000


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.methods.editing.aid import AID
    from diffolio.metrics import Judge
    from diffolio.models import load
    from diffolio.models.images import sheet
    from diffolio.process.interpolation import gini

    model, judge = load("mini-sd"), Judge.load("b")
    method = AID(images=IMAGES, explored=EXPLORED)
    plain = replace(method.neutral(), spacing="uniform")
    options = {"steps": STEPS, "guidance_scale": 4.0}
    made: dict[str, list[Tensor]] = {"embeddings": [], "aid": [], "aid at even places": []}
    prompts = pairs(PAIRS)
    for i, (start, end) in enumerate(prompts):
        for name, one in (("embeddings", plain), ("aid", method), ("aid at even places", replace(method, spacing="uniform"))):
            made[name].append(one.interpolate(model, start, end, seed=SEED + 2 * i, **options).images)
    with torch.no_grad():
        gaps = {name: [judge.distance(x[:-1], x[1:]).tolist() for x in sequences] for name, sequences in made.items()}
    consistency = {name: [sum(g) / len(g) for g in rows] for name, rows in gaps.items()}
    uneven = {name: [gini(g) for g in rows] for name, rows in gaps.items()}
    valid = {name: [single(x[1:-1]) for x in sequences] for name, sequences in made.items()}

    even = replace(method, spacing="uniform")
    moves: dict[str, list[float]] = {"embeddings": [], "aid": []}
    for i, (start, end, colour) in enumerate(sides(SIDES)):
        for name, one in (("embeddings", plain), ("aid", even)):
            x = one.interpolate(model, start, end, seed=SEED + 500 + 2 * i, **options)
            moves[name].append(follows(x.images, x.places, colour))

    guided: dict[str, list[float]] = {"embeddings": [], "aid": []}
    for i, (start, end, guide, kind, colour) in enumerate(guides(GUIDED)):
        for name, one in (("embeddings", plain), ("aid", replace(even, guide=guide))):
            x = replace(one, images=3).interpolate(model, start, end, seed=SEED + 800 + 2 * i, **options)
            guided[name].append(shows(x.images[1:2], kind, colour))

    first = prompts[0]
    return Outcome(
        Row(CLAIM.metric, consistency["aid"], consistency["embeddings"], CLAIM.bar),
        more=[
            Row("Gini coefficient of the gaps, AID / embeddings", uneven["aid"], uneven["embeddings"], AtMost(0.9)),
            Row("share of pictures between that show exactly one thing", valid["aid"], valid["embeddings"], AtLeast(1.0)),
            Row("rank correlation of a thing's side with the place", moves["aid"], moves["embeddings"]),
            Row("rank correlation of a thing's side with the place, AID", moves["aid"], None, AtLeast(0.9)),
            Row("the guide's thing half way, PAID / embeddings", guided["aid"], guided["embeddings"], AtLeast(1.5)),
            Row("consistency at even places", consistency["aid at even places"], consistency["embeddings"]),
            Row("Gini coefficient at even places", uneven["aid at even places"], uneven["embeddings"]),
        ],
        picture=sheet(
            {
                "embeddings alone": made["embeddings"][0],
                "AID": made["aid"][0],
                "embeddings, 2": made["embeddings"][1],
                "AID, 2": made["aid"][1],
            },
            [first[0], *[""] * (IMAGES - 2), first[1]],
        ),
        seeds=f"noise {SEED}..{SEED + 2 * PAIRS}, {SEED + 500}.., {SEED + 800}..",
    )


def pairs(n: int) -> list[tuple[str, str]]:
    """Two single things of other kind and colour."""
    from diffolio.worlds.tabletop import COLOURS, KIND_NAMES

    rng = random.Random(SEED)
    found = []
    for _ in range(n):
        (a, b), (x, y) = rng.sample(KIND_NAMES, 2), rng.sample(list(COLOURS), 2)
        found.append((f"a {x} {a}", f"a {y} {b}"))
    return found


def sides(n: int) -> list[tuple[str, str, str]]:
    """A thing left of another, then right of it; and the first one's colour."""
    from diffolio.worlds.tabletop import COLOURS, KIND_NAMES

    rng = random.Random(SEED + 1)
    found = []
    for _ in range(n):
        (a, b), (x, y) = rng.sample(KIND_NAMES, 2), rng.sample(list(COLOURS), 2)
        found.append((f"a {x} {a} left of a {y} {b}", f"a {x} {a} right of a {y} {b}", x))
    return found


def guides(n: int) -> list[tuple[str, str, str, str, str]]:
    """One kind in two colours, and a third colour between."""
    from diffolio.worlds.tabletop import COLOURS, KIND_NAMES

    rng = random.Random(SEED + 2)
    found = []
    for _ in range(n):
        kind, (x, y, z) = rng.choice(KIND_NAMES), rng.sample(list(COLOURS), 3)
        found.append((f"a {x} {kind}", f"a {y} {kind}", f"a {z} {kind}", kind, z))
    return found


def single(images: Tensor) -> float:
    """The share of pictures in which exactly one thing is seen, and its kind and colour are sure."""
    from diffolio.worlds.tabletop import read
    from diffolio.worlds.tabletop.verdict import SURE

    return sum(r.count == 1 and r.found[0].confidence >= SURE for r in read(images)) / len(images)


def shows(images: Tensor, kind: str, colour: str) -> float:
    """The share of pictures with a thing of this kind and colour."""
    from diffolio.worlds.tabletop import read

    return sum(any((f.kind, f.colour) == (kind, colour) for f in r.found) for r in read(images)) / len(images)


def follows(images: Tensor, places: tuple[float, ...], colour: str) -> float:
    """Spearman's correlation of x of the thing in ``colour`` with the place, over pictures that show it; 0 with fewer than 4."""
    from scipy.stats import spearmanr

    from diffolio.worlds.tabletop import read

    seen = [
        (place, next((f.x for f in r.found if f.colour == colour), None)) for place, r in zip(places, read(images), strict=True)
    ]
    known = [(place, x) for place, x in seen if x is not None]
    if len(known) < 4 or len({x for _, x in known}) < 2:
        return 0.0
    return float(spearmanr(*zip(*known, strict=True)).statistic)
