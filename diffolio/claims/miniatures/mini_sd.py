"""mini-sd: does it draw what it is asked, by the world's reader?"""

from __future__ import annotations

from diffolio.claims.base import AtLeast, Claim, Outcome
from diffolio.claims.miniatures import drawn_as_asked

CLAIM = Claim(
    method="mini-sd",
    metric="one object: kind and colour right, count right",
    paper_says="a bar of our own: 95% of held-out prompts",
    bar=AtLeast(0.95),
    model="mini-sd",
)


def measure(*, retrain: bool = False) -> Outcome:
    return drawn_as_asked(CLAIM, steps=25, two=AtLeast(0.85))
