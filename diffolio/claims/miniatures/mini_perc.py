"""mini-perc: does each copy rank changes of a picture as the world truly changed it, better than squared error does?"""

from __future__ import annotations

import torch
from torch import Tensor

from diffolio.claims.base import AtLeast, Claim, Outcome, Row

CLAIM = Claim(
    method="mini-perc",
    metric="Spearman correlation of distance and number of edits within a picture's versions, copy a",
    paper_says="a bar of our own: 0.9",
    bar=AtLeast(0.9),
    model="mini-perc-a",
    weights=("mini-perc-b",),
)
PICTURES, SEED, SHOWN = 256, 920_000, 6


@torch.no_grad()
def measure(*, retrain: bool = False) -> Outcome:
    from diffolio.metrics.perceptual import Perceptual
    from diffolio.miniatures.perc import VERSIONS, graded
    from diffolio.models.images import sheet

    data = graded(PICTURES, SEED)
    pairs = (data.versions, data.repeated())
    pixels = correlations((pairs[0] - pairs[1]).square().mean((1, 2, 3)), data.amounts)
    distance = {copy: Perceptual.load(copy)(*pairs) for copy in ("a", "b")}
    rank = {copy: correlations(values, data.amounts) for copy, values in distance.items()}
    shown = data.versions.unflatten(0, data.amounts.shape)[:SHOWN]
    return Outcome(
        Row(CLAIM.metric, rank["a"], None, CLAIM.bar),
        more=[
            Row("the same, copy b", rank["b"], None, AtLeast(0.9)),
            Row("the same, squared error of pixels", pixels),
            Row("copy a over squared error", rank["a"], pixels),
        ],
        picture=sheet({f"picture {i + 1}": [data.references[i], *shown[i]] for i in range(SHOWN)}, ["reference", *VERSIONS]),
        seeds=f"scenes {SEED}",
    )


def correlations(distances: Tensor, amounts: Tensor) -> list[float]:
    """Spearman's rank correlation within the versions of each picture."""
    from scipy.stats import spearmanr

    return [float(spearmanr(d, a).statistic) for d, a in zip(distances.view_as(amounts).tolist(), amounts.tolist(), strict=True)]
