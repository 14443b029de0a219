"""Similar papers, recommendations and questions on a small library with three known subjects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffolio.errors import BadInput
from diffolio.papers import taste
from diffolio.papers.features import features_of
from diffolio.papers.identifiers import key_of
from diffolio.papers.likes import ask, ratings_of, recommend, similar
from diffolio.papers.record import Record
from tests.papers.corpus import ids_about, library_at, papers, subject_of


@pytest.fixture
def library(tmp_path):
    with library_at(tmp_path) as library:
        yield library


def like(library, ids, kind="like"):
    for minute, id in enumerate(ids):
        library.mark(id, kind, at=f"2024-05-01T00:{minute:02}:00Z")


def test_similar_papers_share_the_subject(library):
    found = similar(library, "arXiv:2401.00006v2", 12)
    assert {subject_of(each.id) for each in found} == {"sails"} and "2401.00006" not in {each.id for each in found}
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert found[0].title.startswith("On sails") and any(word.startswith("saiword") for word, _ in found[0].why.lifted)


def test_similar_leaves_the_same_work_out(tmp_path):
    records = papers(60)
    with library_at(tmp_path, [*records, replace(records[5], id="2402.00001")]) as library:
        assert similar(library, "2401.00006", 1)[0].id == "2402.00001"
        library.add_work(["2401.00006", "2402.00001"], kind="twin", confidence=1.0)
        assert "2402.00001" not in {each.id for each in similar(library, "2401.00006", 59)}


def test_similar_says_what_is_wrong(library):
    with pytest.raises(BadInput, match=r"2401\.09999 is not in the library"):
        similar(library, "2401.09999")
    with pytest.raises(BadInput, match="not an arXiv id"):
        similar(library, "sails")
    with pytest.raises(BadInput, match="at least 1"):
        similar(library, "2401.00001", 0)
    library.add_records([Record(id="2401.00500", source="bibtex", doi="10.1/x")])
    with pytest.raises(BadInput, match=r"2401\.00500 has no title or abstract"):
        similar(library, "2401.00500")


@pytest.mark.parametrize("likes", [1, 3, 12])
def test_recommendations_follow_the_likes(library, likes):
    liked = ids_about("bread")[:likes]
    like(library, liked)
    found = recommend(library, 20)
    assert len(found) == 20 and not {each.id for each in found} & set(liked)
    assert sum(subject_of(each.id) == "bread" for each in found) >= 19


@pytest.mark.parametrize("likes", [3, 12])
def test_a_score_is_the_sum_of_its_words(library, likes):
    like(library, ids_about("owls")[:likes])
    like(library, ids_about("sails")[:2], "dislike")
    features = features_of(library)
    ratings = ratings_of(library, features)
    weights = taste.taste_of(features, ratings)
    for found in recommend(library, 5):
        row = int(features.rows([key_of(found.id)])[0])
        lifted, lowered = taste.explain(features, row, weights, n=1000)
        assert sum(part for _, part in lifted + lowered) == pytest.approx(found.score, abs=1e-5)
        assert found.why.lifted == lifted[:10] and found.why.lowered == lowered[:10]
        parts = [part for _, part in lifted]
        assert parts == sorted(parts, reverse=True) and parts[-1] > 0 and all(part < 0 for _, part in lowered)
        cosines = (features.matrix[ratings.likes] @ features.matrix[[row]].T).toarray().ravel()
        assert found.why.nearest == features.id(ratings.likes[cosines.argmax()])
        assert found.why.closeness == pytest.approx(cosines.max())


@pytest.mark.parametrize("likes", [2, 12])
def test_dislikes_push_away(library, likes):
    like(library, [*ids_about("bread")[:likes], *ids_about("owls")[: likes // 2]])

    def usual_rank():
        return np.mean([rank for rank, each in enumerate(recommend(library, 180)) if subject_of(each.id) == "owls"])

    before = usual_rank()
    like(library, ids_about("owls")[-likes:], "dislike")
    assert usual_rank() > before + 3
    assert any(word.startswith("owlword") for each in recommend(library, 180) for word, _ in each.why.lowered)


def test_decay_lets_old_likes_fade(library):
    like(library, [*ids_about("sails")[:4], *ids_about("owls")[:2]])  # the owls are the newest
    plain, faded = (recommend(library, 30, decay=decay) for decay in (0, 50))
    count = [sum(subject_of(each.id) == "owls" for each in found) for found in (plain, faded)]
    assert count[1] > count[0]
    features = features_of(library)
    weights = ratings_of(library, features, decay=1.0).weights
    assert weights == pytest.approx([1 / (1 + np.log10(rank)) for rank in range(1, 7)])
    assert features.id(ratings_of(library, features).likes[0]) == ids_about("owls")[1]
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(BadInput, match="decay"):
            recommend(library, decay=wrong)


def test_read_hidden_and_disliked_papers_are_left_out(library):
    like(library, ids_about("bread")[:2])
    first = [each.id for each in recommend(library, 3)]
    for id, kind in zip(first, ("read", "hidden", "dislike"), strict=True):
        library.mark(id, kind)
    assert not set(first) & {each.id for each in recommend(library, 100)}


def test_equal_scores_come_newest_first(tmp_path):
    records = papers(30)
    copies = [replace(records[2], id=f"2403.{i:05}") for i in (1, 2, 3)]
    with library_at(tmp_path, [*records, *copies]) as library:
        library.mark("2401.00003", "like")
        assert [each.id for each in recommend(library, 3)] == ["2403.00003", "2403.00002", "2403.00001"]


def test_a_query_restricts_the_candidates(library):
    like(library, ids_about("bread")[:3])
    assert {subject_of(each.id) for each in recommend(library, 5, query="title:owls")} == {"owls"}
    assert recommend(library, 5, query="title:nowhere") == []


def test_nothing_to_learn_from_is_said(tmp_path):
    with library_at(tmp_path, []) as library:
        with pytest.raises(BadInput, match="library is empty"):
            recommend(library)
        assert ask(library) == []
        library.add_records([Record(id="2401.00900", source="bibtex", doi="10.1/x"), *papers(9)])
        with pytest.raises(BadInput, match="no paper is liked yet"):
            recommend(library)
        library.mark("2401.00900", "like")
        with pytest.raises(BadInput, match="no liked paper has a title or abstract"):
            recommend(library)
        assert len(ask(library)) == 5
        library.mark("2401.00001", "like")
        assert len(recommend(library, 50)) == 8
        assert all(each.id != "2401.00900" for each in recommend(library, 50))


def test_liking_everything_leaves_nothing(tmp_path):
    with library_at(tmp_path, papers(12)) as library:
        like(library, [record.id for record in papers(12)])
        assert recommend(library) == [] and ask(library) == []


def machine_objective(features, ratings, w, offset):
    """What the support vector machine minimises, written out densely and independently."""
    background = np.setdiff1d(features.background, ratings.seen)
    rows = np.concatenate([ratings.likes, ratings.dislikes, background])
    total = 0.5 * len(rows)
    loss = 0.0
    for part, side, weight in (
        (ratings.likes, 1, total / len(ratings.likes)),
        (ratings.dislikes, -1, total / len(ratings.likes)),
        (background, -1, total / len(background)),
    ):
        margin = 1 - side * (features.matrix[part].toarray() @ w + offset)
        loss += weight * (np.maximum(margin, 0) ** 2).sum()
    return w @ w / 2 + loss


def test_the_machine_is_at_its_minimum(library):
    from scipy.optimize import minimize

    like(library, ids_about("bread")[:12])
    like(library, ids_about("owls")[:3], "dislike")
    features = features_of(library)
    ratings = ratings_of(library, features)
    w = taste.taste_of(features, ratings).astype(float)
    size = len(w)
    best = minimize(lambda x: machine_objective(features, ratings, x[:size], x[size]), np.zeros(size + 1), method="L-BFGS-B")
    ours = min(machine_objective(features, ratings, w, offset) for offset in np.linspace(-2, 2, 401))
    assert ours <= best.fun * 1.02
    assert np.corrcoef(features.matrix @ w, features.matrix @ best.x[:size])[0, 1] > 0.995


def test_ask_offers_what_would_change_the_ranking_most(library):
    """Against brute force: rate each paper both ways, rank again, compare the tops."""
    like(library, ids_about("bread")[:3])
    like(library, ids_about("owls")[:1], "dislike")
    features = features_of(library)
    ratings = ratings_of(library, features)
    value = taste.expected_change(features, ratings)
    unrated = np.setdiff1d(np.arange(len(features)), ratings.seen)
    top = min(taste.TOP, -(-len(unrated) // 2))

    def ranking(with_rating):
        scores = features.matrix @ taste.taste_of(features, with_rating)
        return taste.best(features, scores, top, exclude=ratings.seen), scores

    before, scores = ranking(ratings)
    low, high = scores[features.background].mean(), scores[ratings.likes].mean()
    for row in unrated[::9]:
        likes = replace(ratings, likes=np.append(ratings.likes, row), weights=np.append(ratings.weights, 1.0))
        dislikes = replace(ratings, dislikes=np.append(ratings.dislikes, row))
        as_like, as_dislike = (1 - len(set(before) & set(ranking(each)[0])) / top for each in (likes, dislikes))
        chance = np.clip((scores[row] - low) / (high - low), 0.05, 0.95)
        assert value[row] == pytest.approx(chance * as_like + (1 - chance) * as_dislike, abs=1.5 / top)
    asked = ask(library)
    assert asked[0].score == max(value.values()) and len({each.id for each in asked}) == 5
    assert np.mean([each.score for each in asked]) > np.mean(list(value.values()))
    assert not {each.id for each in asked} & {features.id(row) for row in ratings.seen}


def test_ask_before_the_first_like_spans_the_subjects(library):
    assert {subject_of(each.id) for each in ask(library, 3)} == {"sails", "bread", "owls"}
    with pytest.raises(BadInput, match="at least 1"):
        ask(library, 0)
