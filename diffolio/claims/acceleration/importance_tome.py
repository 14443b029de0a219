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

    def sample(every: int = 1) -> torch.Tensor:
        """At 128x128, where the finest layers have 1024 tokens; each ``every``-th prompt."""
        chosen = list(range(0, PROMPTS, every))
        settings = {"steps": STEPS, "guidance_scale": 4.0, "height": 128, "width": 128}
        parts = [
            model.sample([prompts[i] for i in part], seed=[SEED + i for i in part], **settings).images  # type: ignore[arg-type]
            for part in (chosen[i : i + 16] for i in range(0, len(chosen), 16))
        ]
        return torch.cat(parts)

    plain = sample()
    images, far, error, macs = {}, {}, {}, {}
    for ratio, every in ((0.7, 1), (0.5, 4)):
        for name, score in (("ToMe", "none"), ("importance", "cfg")):
            with ImportanceToMe(ratio=ratio, score=score).on(model):
                images[name, ratio] = pictures = sample(every)
            macs[ratio] = model.reports["importance_tome"].as_dict()["attention_macs_ratio"]
            with torch.no_grad():
                far[name, ratio] = judge.distance(pictures, plain[::every])
            error[name, ratio] = mse(pictures, plain[::every])
    right = {name: compliance(images[name, 0.7], scenes).both for name in ("ToMe", "importance")}
    show = [0, 1, 2, 3, 32, 33, 34, 35]
    rows = {"unmerged": plain, "ToMe, 70% merged": images["ToMe", 0.7], "importance, 70% merged": images["importance", 0.7]}
    return Outcome(
        Row(CLAIM.metric, far["importance", 0.7], far["ToMe", 0.7], CLAIM.bar),
        more=[
            Row("kind and colour right, importance minus ToMe, ratio 0.7", right["importance"] - right["ToMe"], bar=AtLeast(0.0)),
            Row("squared pixel error to the unmerged picture, ratio 0.7", error["importance", 0.7], error["ToMe", 0.7]),
            Row("distance to the unmerged picture (judge features), ratio 0.5", far["importance", 0.5], far["ToMe", 0.5]),
            Row("squared pixel error to the unmerged picture, ratio 0.5", error["importance", 0.5], error["ToMe", 0.5]),
            Row("attention multiplications left at ratio 0.7", [macs[0.7]]),
            Row("attention multiplications left at ratio 0.5", [macs[0.5]]),
        ],
        picture=sheet({title: batch[show] for title, batch in rows.items()}, [prompts[i] for i in show]),
        seeds=f"prompts 920001, 920002; noise {SEED}..{SEED + PROMPTS - 1}",
    )
