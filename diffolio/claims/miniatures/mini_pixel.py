"""mini-pixel: are its pictures distributed as the world's are, as far as a judge's features tell?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
SETS, EACH, SEED = 4, 384, 930_000
OWN_STEPS, STEPS = 50, 25


@torch.no_grad()
def measure(*, retrain: bool = False) -> Outcome:
    """The pictures are drawn by the pipeline's own scheduler, as ``from_pretrained`` gives it: DDPM's ancestral steps. ``models.load``
    puts DDIM in its place, in which methods can invert and edit; a row says what that gives in its usual number of steps.

    Each of the sets is compared with held-out pictures of its own, and so is a set of as many other real pictures.

    Held out are scenes and crops that were never drawn in training. Of the eleven photographs behind the crops no others would
    do: photographs of six other scenes lie three times as far from them as their own crops from each other (a reported row).
    """
    from diffusers import DDPMScheduler

    from diffolio import miniatures
    from diffolio.metrics.frechet import frechet_distance
    from diffolio.metrics.judge import Judge
    from diffolio.miniatures.pixel import pictures
    from diffolio.models import load
    from diffolio.models.images import sheet

    model, judge = load("mini-pixel"), Judge.load("b")
    real = pictures(2 * SETS * EACH, SEED).split(EACH)
    other = pictures(SETS * EACH, SEED, split="held-out").split(EACH)

    def draw(scheduler: object, steps: int) -> list[Tensor]:
        model.scheduler = scheduler
        starts = [range(SEED + k * EACH, SEED + (k + 1) * EACH, 64) for k in range(SETS)]
        return [torch.cat([model.sample([""] * 64, seed=seed, steps=steps).images for seed in seeds]) for seeds in starts]

    by_ddim = draw(model.scheduler, STEPS)
    drawn = draw(DDPMScheduler.from_pretrained(miniatures.folder("mini-pixel"), subfolder="scheduler"), OWN_STEPS)
    told = [judge.features(images) for images in real]
    apart = [frechet_distance(told[2 * k], told[2 * k + 1]) for k in range(SETS)]

    def away(sets: Sequence[Tensor]) -> list[float]:
        return [frechet_distance(judge.features(images), told[2 * k + 1]) for k, images in enumerate(sets)]

    noise = away([torch.rand_like(real[0]) for _ in range(SETS)])
    strange = away(other)
    return Outcome(
        Row(CLAIM.metric, away(drawn), apart, CLAIM.bar),
        more=[
            Row(f"the same, by deterministic DDIM in {STEPS} steps, as methods sample", away(by_ddim), apart),
            Row("the same, of pure noise: what the measure says of a model that learned nothing", noise, apart),
            Row("the same, of real pictures with photographs of other scenes", strange, apart),
        ],
        picture=sheet({"held-out": list(real[1][:12]), "mini-pixel": list(drawn[0][:12]), "": list(drawn[0][12:24])}),
        seeds=f"pictures {SEED}; noise {SEED}..{SEED + SETS * EACH - 1}",
        details={"pictures in a set": EACH, "steps": OWN_STEPS},
    )
