"""From ratings to one weight per word, and from there to a ranking that explains itself.

With fewer than 10 likes a taste is a difference of unit vectors: mean of the likes, minus mean of 5,000 fixed random papers,
minus a quarter of the mean of the dislikes. From 10 likes on it is a linear support vector machine (squared hinge loss) that
tells the likes from those 5,000 papers and the dislikes. Either way the score of a paper is a sum over its words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffolio.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_matrix

    from diffolio.papers.features import Features

MACHINE_FROM = 10  # likes
COST = 1.0  # of a margin error, against the length of the weights
# Disliked papers are mostly near misses and share their words with the liked ones: at full weight they halve the precision.
DISLIKE = 0.25
TOP, FIELD, POOL = 50, 2_000, 300

Words = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Ratings:
    """The user's ratings as rows of the features: ``likes`` with ``weights`` > 0, ``dislikes``, and ``seen``, never offered."""

    likes: np.ndarray
    weights: np.ndarray
    dislikes: np.ndarray
    seen: np.ndarray


def taste_of(features: Features, ratings: Ratings) -> np.ndarray:
    """One weight per word, (v,) float32; the score of a paper is its row times this."""
    import numpy as np

    if len(ratings.likes) >= MACHINE_FROM:
        return _machine(features, ratings)
    likes = unit(features.matrix[ratings.likes].T @ ratings.weights)
    return (likes - _usual(features) - DISLIKE * unit(_sum(features, ratings.dislikes))).astype(np.float32)


def _sum(features: Features, rows: np.ndarray) -> np.ndarray:
    import numpy as np

    return features.matrix[rows].T @ np.ones(len(rows))


def _usual(features: Features) -> np.ndarray:
    return unit(_sum(features, features.background))


def unit(vector: np.ndarray) -> np.ndarray:
    import numpy as np

    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector


def _machine(features: Features, ratings: Ratings) -> np.ndarray:
    """Minimise |w|^2 / 2 + sum of cost * max(0, 1 - side * (x.w + offset))^2 by Newton's method.

    The likes together cost as much as the background; a dislike costs as much as a like.
    """
    import numpy as np

    background = features.background[~np.isin(features.background, ratings.seen)]
    likes, dislikes = len(ratings.likes), len(ratings.dislikes)
    rows = np.concatenate([ratings.likes, ratings.dislikes, background])
    share = COST / 2 * len(rows)
    each_like = ratings.weights * share / ratings.weights.sum()
    each_usual = np.full(len(background), share / max(1, len(background)))
    cost = np.concatenate([each_like, np.full(dislikes, share / likes), each_usual])
    side = np.where(np.arange(len(rows)) < likes, 1.0, -1.0)
    papers = features.matrix[rows]
    taste = np.zeros(papers.shape[1] + 1)  # the last one is the offset
    first = 0.0
    for _ in range(15):
        margin = 1 - side * (papers @ taste[:-1] + taste[-1])
        wrong = np.flatnonzero(margin > 0)
        near, weight = papers[wrong], 2 * cost[wrong]
        pull = weight * side[wrong] * margin[wrong]
        downhill = np.append(near.T @ pull - taste[:-1], pull.sum())
        size = float(np.linalg.norm(downhill))
        first = first or size
        if size <= 0.03 * first:
            break
        taste += _newton_step(near, weight, downhill)
    return taste[:-1].astype(np.float32)


def _newton_step(papers: csr_matrix, weight: np.ndarray, downhill: np.ndarray) -> np.ndarray:
    """Conjugate gradients on (I + X^T diag(weight) X) step = downhill; X has a last column of ones, without the I there."""
    import numpy as np

    step, rest = np.zeros_like(downhill), downhill.copy()
    direction, size = rest.copy(), rest @ rest
    enough = 1e-2 * size
    for _ in range(20):
        value = weight * (papers @ direction[:-1] + direction[-1])
        image = np.append(papers.T @ value + direction[:-1], value.sum() + 1e-6 * direction[-1])
        length = size / (direction @ image)
        step += length * direction
        rest -= length * image
        before, size = size, rest @ rest
        if size <= enough:
            break
        direction = rest + size / before * direction
    return step


def best(
    features: Features, scores: np.ndarray, n: int, *, exclude: np.ndarray | None = None, among: np.ndarray | None = None
) -> list[int]:
    """The ``n`` rows of the highest scores, ties newest first; papers without known words are left out. -1 is no row."""
    import numpy as np

    if n < 1:
        raise BadInput(f"{n} papers asked for, at least 1 is needed")
    allowed = features.with_words()
    if among is not None:
        inside = np.zeros(len(allowed), bool)
        inside[among[among >= 0]] = True
        allowed &= inside
    if exclude is not None:
        allowed[exclude[exclude >= 0]] = False
    rows = np.flatnonzero(allowed)
    if len(rows) > n:
        rows = rows[scores[rows] >= np.partition(scores[rows], -n)[-n]]
    return rows[np.lexsort((-rows, -scores[rows]))][:n].tolist()


def explain(features: Features, row: int, taste: np.ndarray, n: int = 10) -> tuple[Words, Words]:
    """The ``n`` words that lift and the ``n`` that lower the score most; over all words of the paper they sum to its score."""
    begin, end = features.matrix.indptr[row : row + 2]
    columns = features.matrix.indices[begin:end]
    parts = sorted(zip((features.matrix.data[begin:end] * taste[columns]).tolist(), columns.tolist(), strict=True))
    lowered = tuple((features.terms[column], part) for part, column in parts[:n] if part < 0)
    lifted = tuple((features.terms[column], part) for part, column in parts[: -n - 1 : -1] if part > 0)
    return lifted, lowered


def expected_change(features: Features, ratings: Ratings) -> dict[int, float]:
    """For up to 300 unrated papers: the share of the top 50 that one rating is expected to exchange, in [0, 1].

    The difference of means stands for the taste whatever the number of likes, and the 2,000 papers that it ranks highest for
    the library. How likely a like is grows linearly from the score of the usual paper to that of the liked ones.
    """
    import numpy as np

    likes, dislikes, usual = _sum(features, ratings.likes), _sum(features, ratings.dislikes), _usual(features)
    scores = features.matrix @ (unit(likes) - usual - DISLIKE * unit(dislikes)).astype(np.float32)
    field = np.array(best(features, scores, FIELD, exclude=ratings.seen), int)
    spread = features.background[~np.isin(features.background, ratings.seen)]
    spread = spread[features.with_words()[spread]]
    spread = spread[:: max(1, len(spread) // (POOL // 2))][: POOL // 2]
    pool = np.unique(np.concatenate([field[: POOL // 2], spread]))
    top = min(TOP, -(-len(field) // 2))
    papers, offered = features.matrix[field], features.matrix[pool]
    likeness = (offered @ papers.T).toarray()  # (pool, field)

    def changed(total: np.ndarray, fixed: np.ndarray, weight: float) -> np.ndarray:
        """The share of the top that differs once each of the pool is added to ``total``, whose unit counts ``weight``."""
        length = np.sqrt(np.maximum(total @ total + 2 * (offered @ total) + 1, 1e-12))
        after = weight * (papers @ total + likeness) / length[:, None] + papers @ fixed
        kept = np.argpartition(-after, top - 1, axis=1)[:, :top] < top  # the field is in its order of before
        return 1 - kept.sum(1) / top

    low, high = scores[features.background].mean(), scores[ratings.likes].mean()
    chance = np.clip((scores[pool] - low) / max(high - low, 1e-9), 0.05, 0.95)
    as_like = changed(likes, -usual - DISLIKE * unit(dislikes), 1)
    as_dislike = changed(dislikes, unit(likes) - usual, -DISLIKE)
    return dict(zip(pool.tolist(), (chance * as_like + (1 - chance) * as_dislike).tolist(), strict=True))


def different(features: Features, value: dict[int, float], n: int) -> list[int]:
    """The ``n`` rows of the highest value, none within 0.7 of one chosen before as long as others are left."""
    import numpy as np

    order = sorted(value, key=lambda row: (-value[row], -row))
    chosen: list[int] = []
    for row in order:
        near = features.meaning[chosen].astype(np.float32) @ features.meaning[row].astype(np.float32)
        if not chosen or near.max(initial=-1) < 0.7:
            chosen.append(row)
        if len(chosen) == n:
            return chosen
    return chosen + [row for row in order if row not in chosen][: n - len(chosen)]


def coverage(features: Features, exclude: np.ndarray, n: int) -> dict[int, float]:
    """``n`` papers that together stand for the library: each adds most to how near the fixed random papers are to one of
    them. Value: what it adds, as a share of all."""
    import numpy as np

    rows = features.background[features.with_words()[features.background]][:FIELD]
    place = features.meaning[rows].astype(np.float32)
    near = np.maximum(place @ place.T, 0)
    covered, allowed = np.zeros(len(rows), np.float32), ~np.isin(rows, exclude)
    chosen: dict[int, float] = {}
    for _ in range(min(n, int(allowed.sum()))):
        gain = np.where(allowed, np.maximum(near - covered, 0).sum(1), -1)
        pick = int(gain.argmax())
        chosen[int(rows[pick])] = float(gain[pick] / len(rows))
        covered, allowed[pick] = np.maximum(covered, near[pick]), False
    return chosen
