"""mini-turbo: does mini-sd, distilled to one step, still draw what it is asked?"""

from __future__ import annotations

from diffolio.claims.base import AtLeast, Claim, Outcome
from diffolio.claims.miniatures import drawn_as_asked

CLAIM = Claim(
    method="mini-turbo",
    metric="one object: kind and colour right, count right",
    paper_says="a bar of our own: 75% of held-out prompts in one step",
    bar=AtLeast(0.75),
    model="mini-turbo",
)


def measure(*, retrain: bool = False) -> Outcome:
    return drawn_as_asked(CLAIM, steps=1)
