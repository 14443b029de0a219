"""mini-var: does a pyramid of bits hold a picture, and does next-scale prediction of them draw what it is asked?"""

from __future__ import annotations

from diffolio.claims.base import AtLeast, Claim, Outcome
from diffolio.claims.miniatures import drawn_as_asked, through_tokens

CLAIM = Claim(
    method="mini-var",
    metric="one object: kind and colour right, count right",
    paper_says="bars of our own: 85% of held-out prompts; PSNR of its tokens 28 dB",
    bar=AtLeast(0.85),
    model="mini-var",
)


def measure(*, retrain: bool = False) -> Outcome:
    return drawn_as_asked(CLAIM, steps=5, more=through_tokens(CLAIM))  # as many as scales
