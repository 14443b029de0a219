"""Claims of the bundled models: how good each is by the reader of its world."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffolio.claims.base import AtLeast, Claim, Outcome

PROMPTS, SEED = 128, 1000


def drawn_as_asked(claim: Claim, steps: int, two: AtLeast | None = None) -> Outcome:
    """Held-out prompts of one object (the headline) and of two (bar ``two``) through the claim's model, read by the world's reader."""
    from diffolio.claims.base import Outcome, Row
    from diffolio.metrics.contact import contact_sheet, draw
    from diffolio.models import load

    model = load(claim.model)
    drawn = [draw(model, PROMPTS, things, seed=SEED, steps=steps, guidance_scale=4.0) for things in (1, 2)]
    return Outcome(
        Row(claim.metric, drawn[0].scores.all, None, claim.bar),
        more=[
            Row("two objects: kinds, colours and relation right", drawn[1].scores.all, None, two),
            *(
                Row(f"{count}: {name} right", getattr(made.scores, name))
                for count, made in zip(("one object", "two objects"), drawn, strict=True)
                for name in ("kinds", "colours", "both", "count")
            ),
        ],
        picture=contact_sheet(drawn),
        seeds=f"prompts 900001, 900002; noise {SEED}..{SEED + PROMPTS - 1}",
    )
