"""mini-video: do its clips show the thing that is asked for, going where it is asked to, as steadily as true clips?"""

from __future__ import annotations

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, AtMost, Claim, Outcome, Row

CLAIM = Claim(
    method="mini-video",
    metric="object and direction of motion right",
    paper_says="a bar of our own: 80% of held-out captions",
    bar=AtLeast(0.8),
    world="motion",
    model="mini-video",
    weights=("mini-clip-b",),
)
PROMPTS, STEPS, SEED, SHOWN = 64, 25, 940_000, 8


@torch.no_grad()
def measure(*, retrain: bool = False) -> Outcome:
    """Steadiness is the judge's distance of neighbouring frames; true clips of the same scripts, through the VAE, stand beside."""
    from diffolio.metrics.judge import Judge
    from diffolio.models import load
    from diffolio.models.images import sheet
    from diffolio.worlds.motion import ONE_MOVER, read_motion, render_clips, sample_scripts, shows

    model, judge = load("mini-video"), Judge.load("b")
    scripts = sample_scripts(PROMPTS, SEED, ONE_MOVER, model.frames or 8)
    captions = [script.caption for script in scripts]
    clips = torch.cat(
        [model.sample(captions[i : i + 16], seed=SEED + i, steps=STEPS, guidance_scale=4.0).images for i in range(0, PROMPTS, 16)]
    )
    true = torch.cat([model.decode(model.encode(render_clips(scripts[i : i + 16]))) for i in range(0, PROMPTS, 16)])
    right = [float(shows(read_motion(clip), script)) for clip, script in zip(clips, scripts, strict=True)]
    read_true = [float(shows(read_motion(clip), script)) for clip, script in zip(true, scripts, strict=True)]

    def steps_of(frames: Tensor) -> list[float]:
        told = judge.features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return (1 - (told[:, 1:] * told[:, :-1]).sum(-1)).mean(1).tolist()  # type: ignore[no-any-return]

    return Outcome(
        Row(CLAIM.metric, right, None, CLAIM.bar),
        more=[
            Row(
                "change between neighbouring frames, over that of true clips: at most",
                steps_of(clips),
                steps_of(true),
                AtMost(1.1),
            ),
            Row("the same: at least", steps_of(clips), steps_of(true), AtLeast(0.9)),
            Row("the same reader on true clips through the VAE", read_true),
        ],
        picture=sheet({f"{captions[i]}: {'right' if right[i] else 'wrong'}": list(clips[i]) for i in range(SHOWN)}),
        seeds=f"scripts {SEED}; noise {SEED}..{SEED + PROMPTS - 1}",
    )
