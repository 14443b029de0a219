"""mini-vq: do 512 tokens hold a picture, and does a masked transformer over them draw what it is asked?"""

from __future__ import annotations

from diffolio.claims.base import AtLeast, Claim, Outcome
from diffolio.claims.miniatures import drawn_as_asked, through_tokens

CLAIM = Claim(
    method="mini-vq",
    metric="one object: kind and colour right, count right",
    paper_says="bars of our own: 85% of held-out prompts; PSNR of its tokens 28 dB",
    bar=AtLeast(0.85),
    model="mini-vq",
)


def measure(*, retrain: bool = False) -> Outcome:
    return drawn_as_asked(CLAIM, steps=16, more=through_tokens(CLAIM))
