"""mini-sd: does it draw what it is asked, by the world's reader?"""

from __future__ import annotations

from diffolio.claims.base import AtLeast, Claim, Outcome, Row

CLAIM = Claim(
    method="mini-sd",
    metric="one object: kind and colour right, count right",
    paper_says="a bar of our own: 95% of held-out prompts",
    bar=AtLeast(0.95),
)
PROMPTS, STEPS, SEED = 128, 25, 1000


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.metrics.contact import contact_sheet, draw
    from diffolio.models import load

    model = load("mini-sd")
    one, two = (draw(model, PROMPTS, things, seed=SEED, steps=STEPS, guidance_scale=4.0) for things in (1, 2))
    return Outcome(
        Row(CLAIM.metric, one.scores.all, None, CLAIM.bar),
        more=[
            Row("two objects: kinds, colours and relation right", two.scores.all, None, AtLeast(0.85)),
            *(
                Row(f"{count}: {name} right", getattr(drawn.scores, name))
                for count, drawn in (("one object", one), ("two objects", two))
                for name in ("kinds", "colours", "both", "count")
            ),
        ],
        picture=contact_sheet([one, two]),
        seeds=f"prompts 900001, 900002; noise {SEED}..{SEED + PROMPTS - 1}",
    )
