"""mini-pixel: are its pictures distributed as the world's are, as far as a judge's features tell?"""

from __future__ import annotations

import torch

from diffolio.claims.base import AtMost, Claim, Outcome, Row

CLAIM = Claim(
    method="mini-pixel",
    metric="Frechet distance to held-out pictures, over that between two sets of real ones",
    paper_says="a bar of our own: within 3 times",
    bar=AtMost(3.0),
    world="tabletop and photos",
    model="mini-pixel",
    weights=("mini-clip-b",),
)
SETS, EACH, STEPS, SEED = 4, 384, 25, 930_000


@torch.no_grad()
def measure(*, retrain: bool = False) -> Outcome:
    """Each of the sets is compared with held-out pictures of its own, and so is a set of as many other real pictures.

    Held out are scenes and crops that were never drawn in training. Of the eleven photographs behind the crops no others would
    do: photographs of six other scenes lie three times as far from them as their own crops from each other (a reported row).
    """
    from diffolio.metrics.frechet import frechet_distance
    from diffolio.metrics.judge import Judge
    from diffolio.miniatures.pixel import pictures
    from diffolio.models import load
    from diffolio.models.images import sheet

    model, judge = load("mini-pixel"), Judge.load("b")
    real = pictures(2 * SETS * EACH, SEED).split(EACH)
    other = pictures(SETS * EACH, SEED, split="held-out").split(EACH)
    drawn = [
        torch.cat([model.sample([""] * 64, seed=SEED + k * EACH + i, steps=STEPS).images for i in range(0, EACH, 64)])
        for k in range(SETS)
    ]
    told = [judge.features(images) for images in real]
    apart = [frechet_distance(told[2 * k], told[2 * k + 1]) for k in range(SETS)]
    ours = [frechet_distance(judge.features(images), told[2 * k + 1]) for k, images in enumerate(drawn)]
    strange = [frechet_distance(judge.features(images), told[2 * k + 1]) for k, images in enumerate(other)]
    noise = [frechet_distance(judge.features(torch.rand_like(real[0])), told[2 * k + 1]) for k in range(SETS)]
    return Outcome(
        Row(CLAIM.metric, ours, apart, CLAIM.bar),
        more=[
            Row("the same, of pure noise: what the measure says of a model that learned nothing", noise, apart),
            Row("the same, of real pictures with photographs of other scenes", strange, apart),
        ],
        picture=sheet({"held-out": list(real[1][:12]), "mini-pixel": list(drawn[0][:12]), "": list(drawn[0][12:24])}),
        seeds=f"pictures {SEED}; noise {SEED}..{SEED + SETS * EACH - 1}",
        details={"pictures in a set": EACH, "steps": STEPS},
    )
