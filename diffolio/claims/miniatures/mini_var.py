"""mini-var: does a pyramid of bits hold a picture, and does next-scale prediction of them draw what it is asked?"""

from __future__ import annotations

from diffolio.claims.base import AtLeast, Claim, Outcome, Row

CLAIM = Claim(
    method="mini-var",
    metric="one object: kind and colour right, count right",
    paper_says="bars of our own: 85% of held-out prompts; PSNR of its tokens 28 dB",
    bar=AtLeast(0.85),
    model="mini-var",
)
PROMPTS, STEPS, GUIDANCE, SEED, PICTURES = 128, 5, 4.0, 1000, 512  # as many steps as scales


def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.metrics import psnr
    from diffolio.metrics.compliance import compliance, held_out
    from diffolio.metrics.contact import contact_sheet, draw, rebuilt
    from diffolio.models import load
    from diffolio.worlds.tabletop import sample_scenes

    model = load("mini-var")
    one, two = (draw(model, PROMPTS, things, seed=SEED, steps=STEPS, guidance_scale=GUIDANCE) for things in (1, 2))
    images, decoded = rebuilt(model, sample_scenes(PICTURES, 900_000))
    single = held_out(PROMPTS, 1)
    possible = compliance(rebuilt(model, single)[1], single)
    return Outcome(
        Row(CLAIM.metric, one.scores.all, None, CLAIM.bar),
        more=[
            Row("PSNR of held-out pictures through the tokens, dB", psnr(decoded, images).tolist(), None, AtLeast(28.0)),
            Row("one object: true pictures through the tokens", possible.all, note="what is possible"),
            Row("two objects: kinds, colours and relation right", two.scores.all),
            *(
                Row(f"{count}: {name} right", getattr(drawn.scores, name))
                for count, drawn in (("one object", one), ("two objects", two))
                for name in ("kinds", "colours", "both", "count")
            ),
        ],
        picture=contact_sheet([one, two]),
        seeds=f"prompts 900001, 900002; pictures 900000; noise {SEED}..{SEED + PROMPTS - 1}",
        details={"guidance": GUIDANCE, "steps": STEPS},
    )
