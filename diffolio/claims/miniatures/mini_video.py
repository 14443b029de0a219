"""mini-video: do its clips show the thing that is asked for, going where it is asked to, as steadily as true clips?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, AtMost, Claim, Outcome, Row

if TYPE_CHECKING:
    from diffolio.worlds.motion import MotionReading, Script

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
    readings = [read_motion(clip) for clip in clips]
    right = [float(shows(reading, script)) for reading, script in zip(readings, scripts, strict=True)]
    read_true = [float(shows(read_motion(clip), script)) for clip, script in zip(true, scripts, strict=True)]

    def steps_of(frames: Tensor) -> list[float]:
        told = judge.features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return (1 - (told[:, 1:] * told[:, :-1]).sum(-1)).mean(1).tolist()  # type: ignore[no-any-return]

    changes, true_changes = steps_of(clips), steps_of(true)
    return Outcome(
        Row(CLAIM.metric, right, None, CLAIM.bar),
        more=[
            Row("change between neighbouring frames, over that of true clips: at most", changes, true_changes, AtMost(1.1)),
            Row("the same: at least", changes, true_changes, AtLeast(0.9)),
            Row("the same reader on true clips through the VAE", read_true),
            *parts(readings, scripts),
        ],
        picture=sheet({f"{captions[i]}: {'right' if right[i] else 'wrong'}": list(clips[i]) for i in range(SHOWN)}),
        seeds=f"scripts {SEED}; noise {SEED}..{SEED + PROMPTS - 1}",
    )


def parts(readings: Sequence[MotionReading], scripts: Sequence[Script]) -> list[Row]:
    """What of a clip's one thing is right on its own, as read of whatever moves there: rows that say how far a wrong clip is off."""
    from diffolio.worlds.motion import asked

    def share(*, kind: bool = False, motion: bool = False) -> list[float]:
        found = []
        for reading, script in zip(readings, scripts, strict=True):
            ((its_kind, its_colour, its_motion),) = asked(script)
            own = [m for m in reading.movers if m.colour == its_colour]
            found.append(float(any((m.kind == its_kind or not kind) and (m.motion == its_motion or not motion) for m in own)))
        return found

    return [
        Row("something of the colour is followed through the clip", share()),
        Row("and of the kind, sure or not", share(kind=True)),
        Row("something of the colour goes the way it should", share(motion=True)),
        Row("one thing and no more is followed", [float(len(reading.movers) == 1) for reading in readings]),
    ]
