"""mini-clip: does each copy find the caption of a picture among 64?"""

from __future__ import annotations

import torch

from diffolio.claims.base import AtLeast, Claim, Outcome, Row

CLAIM = Claim(
    method="mini-clip",
    metric="the right caption among 64 (retrieval@1), copy a",
    paper_says="a bar of our own: 95%",
    bar=AtLeast(0.95),
    model="mini-clip-a",
    weights=("mini-clip-b",),
)
PICTURES, AMONG, SEED, SHOWN = 1024, 64, 910_000, 10


@torch.no_grad()
def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.metrics import Judge
    from diffolio.models.images import strip
    from diffolio.worlds.tabletop import Mixture, render, sample_scenes

    scenes = sample_scenes(PICTURES, SEED, Mixture(counts=(0.4, 0.5, 0.1)))
    captions = [scene.caption for scene in scenes]
    images = render(scenes, 64).images
    right: dict[str, list[float]] = {}
    found: list[str] = []
    for copy in ("a", "b"):
        judge = Judge.load(copy)
        hits = []
        for i in range(0, PICTURES, AMONG):
            best = (judge.features(images[i : i + AMONG]) @ judge.text(captions[i : i + AMONG]).T).argmax(1)
            # Two scenes may have the same caption, and either is right.
            chosen = [captions[i + j] for j in best.tolist()]
            hits += [float(a == b) for a, b in zip(chosen, captions[i : i + AMONG], strict=True)]
            found += chosen if copy == "a" else []
        right[copy] = hits
    return Outcome(
        Row(CLAIM.metric, right["a"], None, CLAIM.bar),
        more=[Row("the right caption among 64 (retrieval@1), copy b", right["b"], None, AtLeast(0.95))],
        picture=strip(
            images[:SHOWN],
            SHOWN,
            [text if hit else f"WRONG: {text}" for text, hit in zip(found, right["a"], strict=True)][:SHOWN],
        ),
        seeds=f"scenes {SEED}",
    )
