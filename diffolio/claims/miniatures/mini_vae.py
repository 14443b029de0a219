"""mini-vae: how much of a held-out picture survives encoding and decoding?"""

from __future__ import annotations

import torch

from diffolio.claims.base import AtLeast, Claim, Outcome, Row

CLAIM = Claim(
    method="mini-vae",
    metric="PSNR of decoded held-out pictures, dB",
    paper_says="a bar of our own: 32 dB",
    bar=AtLeast(32.0),
    model="mini-sd",
    weights=("mini-vae",),
)
PICTURES, SEED, SHOWN = 512, 900_000, 10


@torch.no_grad()
def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.metrics import psnr
    from diffolio.metrics.compliance import compliance
    from diffolio.models import load
    from diffolio.models.images import sheet
    from diffolio.worlds.tabletop import render, sample_scenes

    model = load("mini-sd")
    scenes = sample_scenes(PICTURES, SEED)
    images = render(scenes, model.default_size).images
    decoded = torch.cat([model.decode(model.encode(part)) for part in images.split(64)])
    true, rebuilt = compliance(images, scenes), compliance(decoded, scenes)
    difference = (decoded - images).abs()[:SHOWN] * 4
    return Outcome(
        Row(CLAIM.metric, psnr(decoded, images).tolist(), None, CLAIM.bar),
        more=[
            Row("the reader finds all that is there, in true pictures", true.all, None, AtLeast(0.99)),
            Row("the reader finds all that is there, in decoded ones", rebuilt.all, None, AtLeast(0.97)),
        ],
        picture=sheet(
            {"held-out picture": images[:SHOWN], "decoded": decoded[:SHOWN], "difference, 4 times": difference.clamp(0, 1)}
        ),
        seeds=f"scenes {SEED}",
    )
