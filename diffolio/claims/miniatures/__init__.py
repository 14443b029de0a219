"""Claims of the bundled models: how good each is by the reader of its world."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffolio.claims.base import AtLeast, Claim, Outcome, Row

PROMPTS, SEED, GUIDANCE = 128, 1000, 4.0
PICTURES, PICTURES_SEED = 512, 900_000


def drawn_as_asked(claim: Claim, steps: int, two: AtLeast | None = None, more: Sequence[Row] = ()) -> Outcome:
    """Held-out prompts of one object (the headline) and of two (bar ``two``) through the claim's model, read by the world's reader.

    ``more`` are rows that the claim measured itself.
    """
    from diffolio.claims.base import Outcome, Row
    from diffolio.metrics.contact import contact_sheet, draw
    from diffolio.models import load

    model = load(claim.model)
    drawn = [draw(model, PROMPTS, things, seed=SEED, steps=steps, guidance_scale=GUIDANCE) for things in (1, 2)]
    return Outcome(
        Row(claim.metric, drawn[0].scores.all, None, claim.bar),
        more=[
            *more,
            Row("two objects: kinds, colours and relation right", drawn[1].scores.all, None, two),
            *(
                Row(f"{count}: {name} right", getattr(made.scores, name))
                for count, made in zip(("one object", "two objects"), drawn, strict=True)
                for name in ("kinds", "colours", "both", "count")
            ),
        ],
        picture=contact_sheet(drawn),
        seeds=f"prompts 900001, 900002; noise {SEED}..{SEED + PROMPTS - 1}",
        details={"guidance": GUIDANCE, "steps": steps},
    )


def through_tokens(claim: Claim) -> list[Row]:
    """What the tokenizer of the claim's model leaves of held-out pictures, which bounds what the model can draw."""
    from diffolio.claims.base import AtLeast, Row
    from diffolio.metrics import psnr
    from diffolio.metrics.compliance import compliance, held_out
    from diffolio.metrics.contact import rebuilt
    from diffolio.models import load
    from diffolio.worlds.tabletop import sample_scenes

    model, single = load(claim.model), held_out(PROMPTS, 1)
    images, decoded = rebuilt(model, sample_scenes(PICTURES, PICTURES_SEED))
    possible = compliance(rebuilt(model, single)[1], single)
    return [
        Row(
            f"PSNR of held-out pictures (seed {PICTURES_SEED}) through the tokens, dB",
            psnr(decoded, images).tolist(),
            None,
            AtLeast(28.0),
        ),
        Row("one object: true pictures through the tokens", possible.all, note="what is possible"),
    ]
