"""mini-flow: does a Stable Diffusion 3 of four million parameters draw what it is asked, in 20 steps?"""

from __future__ import annotations

from diffolio.claims.base import AtLeast, Claim, Outcome
from diffolio.claims.miniatures import drawn_as_asked

CLAIM = Claim(
    method="mini-flow",
    metric="one object: kind and colour right, count right",
    paper_says="a bar of our own: 90% of held-out prompts in 20 steps",
    bar=AtLeast(0.9),
    model="mini-flow",
)


def measure(*, retrain: bool = False) -> Outcome:
    return drawn_as_asked(CLAIM, steps=20)
