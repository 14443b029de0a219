"""Importance-based token merging against ToMe's, at equal ratio: how far is the picture from the unmerged one?"""

from __future__ import annotations

import torch

from diffolio.claims.base import AtLeast, AtMost, Claim, Outcome, Row

CLAIM = Claim(
    method="importance_tome",
    metric="distance to the unmerged picture (judge features), ratio 0.7, importance / ToMe",
    paper_says="better FID, PSNR, SSIM and LPIPS than random grouping at the same ratio, at no extra network call",
    bar=AtMost(0.9),
    weights=("mini-clip-b",),
)
PROMPTS, STEPS, SEED = 64, 25, 3000


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.methods.acceleration.importance_tome import ImportanceToMe
    from diffolio.metrics import Judge, mse
    from diffolio.metrics.compliance import compliance, held_out
    from diffolio.models import load
    from diffolio.models.images import sheet

    model, judge = load("mini-sd"), Judge.load("b")
    scenes = held_out(PROMPTS // 2, 1, seed=920_000) + held_out(PROMPTS // 2, 2, seed=920_000)
    prompts = [scene.caption for scene in scenes]

    def sample() -> torch.Tensor:
        """At 128x128, where the finest layers have 1024 tokens."""
        parts = [
            model.sample(prompts[i : i + 16], seed=SEED + i, steps=STEPS, guidance_scale=4.0, height=128, width=128).images
            for i in range(0, PROMPTS, 16)
        ]
        return torch.cat(parts)

    plain = sample()
    images, rows, macs = {}, {}, {}
    for ratio in (0.5, 0.7):
        for name, technique in (
            ("ToMe", ImportanceToMe(ratio=ratio, score="none")),
            ("importance", ImportanceToMe(ratio=ratio)),
        ):
            with technique.on(model):
                images[name, ratio] = sample()
            macs[ratio] = model.reports["importance_tome"].as_dict()["attention_macs_ratio"]
    with torch.no_grad():
        for key, pictures in images.items():
            rows[key] = (judge.distance(pictures, plain), mse(pictures, plain), compliance(pictures, scenes).both)
    show = [0, 1, 2, 3, 32, 33, 34, 35]
    return Outcome(
        Row(CLAIM.metric, rows["importance", 0.7][0], rows["ToMe", 0.7][0], CLAIM.bar),
        more=[
            Row("the same at ratio 0.5", rows["importance", 0.5][0], rows["ToMe", 0.5][0]),
            Row("squared pixel error to the unmerged picture, ratio 0.7", rows["importance", 0.7][1], rows["ToMe", 0.7][1]),
            Row("squared pixel error to the unmerged picture, ratio 0.5", rows["importance", 0.5][1], rows["ToMe", 0.5][1]),
            Row("kind and colour right, ratio 0.7", rows["importance", 0.7][2] + 1, rows["ToMe", 0.7][2] + 1, AtLeast(1.0),
                note="of 1 + rate, so that a rate of zero divides"),
            Row("attention multiplications left at ratio 0.7", [macs[0.7]]),
            Row("attention multiplications left at ratio 0.5", [macs[0.5]]),
        ],
        picture=sheet(
            {"unmerged": plain[show], "ToMe, 70% merged": images["ToMe", 0.7][show], "importance, 70%": images["importance", 0.7][show]},
            [prompts[i] for i in show],
        ),
        seeds=f"prompts 920001, 920002; noise {SEED}..{SEED + PROMPTS - 1}",
    )  # fmt: skip
