"""Papers like one paper, papers like those I liked, and which papers to rate next.

    for found in recommend(library, 20):
        print(found.id, found.title, found.why.lifted)

How ratings become a ranking is told in :mod:`diffolio.papers.taste`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffolio.errors import BadInput
from diffolio.papers import taste
from diffolio.papers.features import Features, features_of
from diffolio.papers.identifiers import key_of, parse_id

if TYPE_CHECKING:
    import numpy as np

    from diffolio.papers.store import Library


@dataclass(frozen=True)
class Why:
    """The ten words that lifted a score most and the ten that lowered it most, each with its part of the score; and the
    liked paper nearest to it with their cosine in [0, 1], None where there is none."""

    lifted: taste.Words
    lowered: taste.Words = ()
    nearest: str | None = None
    closeness: float | None = None


@dataclass(frozen=True)
class Scored:
    """One paper of a ranking; equal scores are ordered newest first."""

    id: str
    title: str | None
    score: float
    why: Why | None = None


def similar(library: Library, id: str, n: int = 10) -> list[Scored]:
    """The ``n`` papers nearest in meaning (score: cosine in [-1, 1]) with the words that they share most; the same work under
    another id is left out. Raises BadInput for a paper that is absent or has no text."""
    import numpy as np

    base = parse_id(id).base
    paper = library.paper(base)
    if paper is None:
        raise BadInput(f"{base} is not in the library: import a digest that lists it or pull it first")
    features = features_of(library)
    row = int(features.rows([key_of(base)])[0])
    own = features.matrix[[row]].toarray().ravel()
    if not own.any():
        raise BadInput(f"{base} has no title or abstract to compare: pull it to complete it")
    twins = [twin for work in paper.works if work.status == "merged" for twin in work.papers]
    scores = features.near(features.meaning[row])
    found = taste.best(features, scores, n, exclude=np.append(features.rows(map(key_of, twins)), row))
    return _told(library, features, {r: (float(scores[r]), Why(taste.explain(features, r, own)[0])) for r in found})


def recommend(library: Library, n: int = 20, *, query: str | None = None, decay: float | None = None) -> list[Scored]:
    """The ``n`` papers that the user's likes and dislikes rank highest, each with why.

    Papers already liked, disliked, read or hidden are left out. ``query`` restricts the candidates. ``decay`` >= 0 lets old
    likes fade: the like of rank r, newest first, weighs 1 / (1 + decay * log10 r); None or 0: all weigh the same.
    """
    from diffolio.papers.search import matching

    if decay is not None and not (math.isfinite(decay) and decay >= 0):
        raise BadInput(
            f"a decay of {decay} was given: needed is a number from 0, which is none, up; 1 halves the tenth newest like"
        )
    _need_a_like(library)
    features = features_of(library)
    ratings = ratings_of(library, features, decay=decay or 0.0)
    if not len(ratings.likes):
        raise BadInput("no liked paper has a title or abstract to learn from: pull them to complete them, or like others")
    weights = taste.taste_of(features, ratings)
    scores = features.matrix @ weights
    among = None if query is None else features.rows(matching(library, query))
    found = taste.best(features, scores, n, exclude=ratings.seen, among=among)
    whys = _whys(features, found, weights, ratings)
    return _told(library, features, {row: (float(scores[row]), why) for row, why in zip(found, whys, strict=True)})


def ask(library: Library, n: int = 5) -> list[Scored]:
    """The ``n`` unrated papers whose rating would change the ranking most; different ones, not five of a kind.

    Score: the share of the top 50 that is expected to change, in [0, 1], weighing a like and a dislike by how likely each is.
    Before the first like: papers that together stand for the whole library, each scored by what it adds.
    """
    if n < 1:
        raise BadInput(f"{n} papers asked for, at least 1 is needed")
    features = features_of(library)
    ratings = ratings_of(library, features)
    if len(ratings.likes):
        value = taste.expected_change(features, ratings)
        chosen = taste.different(features, value, n)
    else:
        value = taste.coverage(features, ratings.seen, n)
        chosen = list(value)
    return _told(library, features, {row: (value[row], None) for row in chosen})


def ratings_of(library: Library, features: Features, *, decay: float = 0.0) -> taste.Ratings:
    """The user's ratings, newest first; papers without words are seen but teach nothing."""
    import numpy as np

    def rows(kind: str) -> np.ndarray:
        newest_first = reversed(library.marked(kind))
        found = features.rows(dict.fromkeys(key_of(id) for id, _ in newest_first))
        return found[found >= 0]

    told = features.with_words()
    likes, dislikes = rows("like"), rows("dislike")
    seen = np.concatenate([likes, dislikes, rows("read"), rows("hidden")])
    likes, dislikes = (each[told[each]] for each in (likes, dislikes))
    weights = 1 / (1 + decay * np.log10(np.arange(1, len(likes) + 1)))
    return taste.Ratings(likes, weights, dislikes, seen)


def _need_a_like(library: Library) -> None:
    if not len(library):
        raise BadInput("the library is empty: import a digest or pull papers first")
    if not library.marked("like"):
        raise BadInput("no paper is liked yet: like a few with `diffolio papers like ID`; `recommend --ask` offers some to rate")


def _whys(features: Features, rows: list[int], weights: np.ndarray, ratings: taste.Ratings) -> list[Why]:
    closeness = (features.matrix[rows] @ features.matrix[ratings.likes].T).toarray()
    whys = []
    for row, near in zip(rows, closeness, strict=True):
        lifted, lowered = taste.explain(features, row, weights)
        nearest = int(near.argmax())
        whys.append(Why(lifted, lowered, features.id(ratings.likes[nearest]), float(near[nearest])))
    return whys


def _told(library: Library, features: Features, found: dict[int, tuple[float, Why | None]]) -> list[Scored]:
    titles = {paper.id: paper.title for paper in library.papers([features.id(row) for row in found])}
    return [Scored(features.id(row), titles.get(features.id(row)), score, why) for row, (score, why) in found.items()]
