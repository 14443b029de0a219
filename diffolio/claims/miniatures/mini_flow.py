"""mini-flow: does a Stable Diffusion 3 of four million parameters draw what it is asked, in 20 steps?"""

from __future__ import annotations

from diffolio.claims.base import AtLeast, Claim, Outcome, Row

CLAIM = Claim(
    method="mini-flow",
    metric="one object: kind and colour right, count right",
    paper_says="a bar of our own: 90% of held-out prompts in 20 steps",
    bar=AtLeast(0.9),
    model="mini-flow",
)
PROMPTS, STEPS, SEED = 128, 20, 1000


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.metrics.contact import contact_sheet, draw
    from diffolio.models import load

    model = load("mini-flow")
    one, two = (draw(model, PROMPTS, things, seed=SEED, steps=STEPS, guidance_scale=4.0) for things in (1, 2))
    return Outcome(
        Row(CLAIM.metric, one.scores.all, None, CLAIM.bar),
        more=[
            Row("two objects: kinds, colours and relation right", two.scores.all),
            *(
                Row(f"{count}: {name} right", getattr(drawn.scores, name))
                for count, drawn in (("one object", one), ("two objects", two))
                for name in ("kinds", "colours", "both", "count")
            ),
        ],
        picture=contact_sheet([one, two]),
        seeds=f"prompts 900001, 900002; noise {SEED}..{SEED + PROMPTS - 1}",
    )
