from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffolio.errors import BadInput, UnknownName
from diffolio.papers.changes import first_day, version_on, within, word_diff
from diffolio.papers.issue import compose, last_issue, newest_day, remember
from diffolio.papers.record import Author, Record
from diffolio.papers.store import Library
from tests.papers.render import made

NOW = "2024-05-01T06:00:00Z"
words = st.lists(st.sampled_from(["noise", "of", "a", "token", "the", "3.5", "dB,", "—", "图像"]), max_size=30).map(" ".join)


@given(words, words)
@settings(derandomize=True, max_examples=150, deadline=None)
def test_word_diff_holds_both_texts(before: str, after: str) -> None:
    change = word_diff("abstract", before, after)
    assert (change.before, change.after) == (before, after)
    assert all(text for _, text in change.parts)
    if before == after:
        assert all(kind == "same" for kind, _ in change.parts)


def test_word_diff_marks_words_not_letters() -> None:
    parts = word_diff("title", "It is 3.5 dB faster than before", "It is 4 dB better than before").parts
    assert ("same", " dB ") in parts and ("removed", "faster") in parts and ("added", "better") in parts


def test_word_diff_of_huge_texts_ends_quickly() -> None:
    before, after = "a b " * 40_000, "b a " * 40_000
    change = word_diff("abstract", before, after)
    assert (change.before, change.after) == (before, after) and len(change.parts) == 2


def paper_of(folder: Path, *records: Record):  # type: ignore[no-untyped-def]
    with Library.open(folder / "library.sqlite") as library:
        library.add_records(records)
        return library.paper(records[0].id)


def test_versions_as_of_a_day(tmp_path: Path) -> None:
    first, second, _ = versions("2401.00005", ("2024-01-02", "2024-02-02", "2024-03-02"))
    paper = paper_of(tmp_path, first, second)
    assert [version_on(paper, day) for day in ("2024-01-01", "2024-01-02", "2024-02-01", "2024-02-02", "2024-04-01")] == [
        None, 1, 1, 2, 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "day"),
    [
        (Record("2403.00001", "oai", "T", published="2024-03-01T23:59:59Z"), "2024-03-01"),
        (Record("2403.00001", "oai", "T", published="2024-02-31"), "2024-03"),
        (Record("2403.00001", "digest", "T"), "2024-03"),
        (Record("2403.00001", "rss", "T", announced="new", retrieved="2024-03-04"), "2024-03-04"),
        (Record("2403.00001", "rss", "T", announced="cross", retrieved="2024-06-04"), "2024-03"),
        (Record("2403.00001", "rss", "T", announced="replace", retrieved="2024-03-04"), "2024-03"),
        (Record("hep-th/9901001", "digest", "T"), "1999-01"),
    ],
)
def test_first_day(tmp_path: Path, record: Record, day: str) -> None:
    assert first_day(paper_of(tmp_path, record)) == day


def test_a_month_lies_in_a_window_only_as_a_whole() -> None:
    assert within("2024-02", "2024-02-01", "2024-02-29") and within("2024-12", "2024-11-30", "2025-01-01")
    assert not within("2024-02", "2024-02-02", "2024-03-31") and not within(None, "2024-01-01", "2024-12-31")


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return made.library(tmp_path)


def test_every_kind_of_entry(library: Library) -> None:
    digest = made.digest(library)
    told = {entry.id: (entry.kind, entry.day, entry.since, entry.version) for entry in digest.entries}
    assert told == {
        "2403.12963": ("new", "2024-03-19", None, 1),
        "2402.05555": ("cross", "2024-03-19", None, 1),
        "2312.00123": ("updated", "2024-03-18", 1, 2),
        "2311.00007": ("again", "2024-03-18", None, None),
        "2403.11111": ("new", "2024-03-17", None, 1),
        "2403.06666": ("new", "2024-03-16", None, 1),
        "2403.09999": ("new", "2024-03-15", None, 1),
    }
    assert digest.counts == {"papers": 7, "new": 4, "cross": 1, "updated": 1, "again": 1, "runs": 2}
    assert digest.fingerprint == library.fingerprint() and digest.size == 7
    assert dict(digest.source) == {"arXiv OAI-PMH": 4, "arXiv API": 1, "arXiv RSS": 1, "digests": 1}


def test_an_update_shows_what_changed(library: Library) -> None:
    entry = next(entry for entry in made.digest(library).entries if entry.kind == "updated")
    title, abstract = entry.changes
    assert (title.before, title.after) == ("Merging tokens by weight", "Merging tokens by importance")
    assert ("added", "twice as ") in abstract.parts


def test_the_issue_of_a_past_window_shows_the_version_of_then(library: Library) -> None:
    entry = made.digest(library, first="2023-12-01", last="2023-12-02").entries[0]
    assert (entry.kind, entry.version, entry.title) == ("new", 1, "Merging tokens by weight")


def test_options(library: Library) -> None:
    assert "2402.05555" not in {entry.id for entry in made.digest(library, cross=False).entries}
    library.mark("2403.12963", "hidden")
    digest = made.digest(library, topic="kernels OR tokens")
    assert [entry.id for entry in digest.entries] == ["2312.00123"]
    assert "2403.12963" not in {entry.id for entry in made.digest(library).entries}
    assert [entry.id for entry in made.digest(library, topic="is:hidden").entries] == ["2403.12963"]
    families = [group.name for group in made.digest(library, group="family").groups]
    assert families[0] == "acceleration" and len(families) == len(set(families))


def test_a_topic_is_its_query(library: Library) -> None:
    from diffolio.papers.topics import add_topic

    add_topic(library, "tokens", "title:tokens")
    digest = made.digest(library, topic="tokens")
    assert (digest.topic, digest.query) == ("tokens", "title:tokens")
    assert [entry.id for entry in digest.entries] == ["2312.00123"]


def test_summaries_come_checked(library: Library) -> None:
    entry = next(entry for entry in made.digest(library).entries if entry.id == "2403.12963")
    assert entry.summary is not None
    verdicts = {each.text: each.verdict for each in entry.summary.statements}
    assert verdicts[made.SUMMARY] == "supported" and verdicts["Made at the University of Nowhere."] == "not in the record"
    strict = next(entry for entry in made.digest(library, strict=True).entries if entry.id == "2403.12963")
    assert strict.summary is not None and strict.summary.dropped > entry.summary.dropped
    assert all(each.verdict != "not in the record" for each in strict.summary.statements)


def test_an_empty_window(library: Library) -> None:
    digest = made.digest(library, first="2019-01-01", last="2019-01-07")
    assert digest.entries == () and digest.counts["papers"] == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": "2024-02-30"},
        {"first": "yesterday"},
        {"first": "2024-3-1"},
        {"first": "2024-04-01"},
        {"now": "noon"},
        {"last": ""},
    ],
)
def test_wrong_dates(library: Library, wrong: dict[str, str]) -> None:
    with pytest.raises(BadInput):
        made.digest(library, **wrong)


def test_wrong_grouping(library: Library) -> None:
    with pytest.raises(UnknownName):
        made.digest(library, group="colour")


def test_newest_day(library: Library, tmp_path: Path) -> None:
    assert newest_day(library) == "2024-03-19"
    with Library.open(tmp_path / "other.sqlite") as other:
        assert newest_day(other) is None


def test_the_order_of_arrival_does_not_matter(tmp_path: Path) -> None:
    digests = []
    for seed in range(3):
        records = made.records()
        random.Random(seed).shuffle(records)
        with Library.open(tmp_path / f"{seed}.sqlite", methods=made.METHODS) as library:
            for record in records:
                library.add_records([record])
            digests.append(made.digest(library))
    assert digests[0] == digests[1] == digests[2]


def test_twins_are_one_entry(library: Library) -> None:
    library.add_work(["2403.12963", "2403.11111"], kind="title", confidence=1.0)
    found = {entry.id: entry for entry in made.digest(library).entries}
    assert "2403.11111" not in found and found["2403.12963"].also == ("2403.11111",)


def test_a_twin_of_a_shown_paper_is_not_new(library: Library) -> None:
    shown = remember(library, "s", made.digest(library, topic="hands"))
    library.add_work(["2403.12963", "2403.11111"], kind="title", confidence=1.0)
    assert "2403.12963" not in {entry.id for entry in made.digest(library, since=shown).entries}


def versions(id: str, days: tuple[str, ...]) -> list[Record]:
    """One record for each version of a paper."""
    return [
        Record(
            id, "oai", f"Title {n} of {id}", f"Abstract number {n}.", (Author("A. Person"),), published=f"{days[0]}T00:00:00Z",
            updated=f"{day}T00:00:00Z", version=n, retrieved=day,
        )
        for n, day in enumerate(days, start=1)
    ]  # fmt: skip


@given(st.randoms(use_true_random=False))
@settings(derandomize=True, max_examples=8, deadline=None)
def test_new_since_the_last_issue_is_exact(tmp_path_factory: pytest.TempPathFactory, rng: random.Random) -> None:
    """Papers and versions arrive up to 20 days late, issues come out at random: each is shown once, none is lost."""
    stories = []
    for number in range(1, 13):
        days = sorted(rng.sample(range(1, 61), rng.choice((1, 1, 2, 3))))
        told = versions(f"2402.{number:05}", tuple(map(date_of, days)))
        stories += [(day + rng.choice((0, 0, 1, 20)), record) for day, record in zip(days, told, strict=True)]
    with Library.open(tmp_path_factory.mktemp("since") / "library.sqlite") as library:
        shown, seen = None, []
        for day in range(1, 91):
            library.add_records([record for arrival, record in stories if arrival == day])
            if day % 3 and rng.random() < 0.6 and day < 90:
                continue
            digest = compose(library, first=date_of(1), last=date_of(day), now=NOW, since=shown)
            seen += [(entry.id, entry.version, entry.kind, entry.since) for entry in digest.entries]
            shown = remember(library, "series", digest)
            assert last_issue(library, "series") == shown
            assert compose(library, first=date_of(1), last=date_of(day), now=NOW, since=shown).entries == ()
    by_id: dict[str, list[tuple[int, str, int | None]]] = {}
    for id, version, kind, since in seen:
        by_id.setdefault(id, []).append((version or 0, kind, since))
    assert set(by_id) == {record.id for _, record in stories}
    for id, told in by_id.items():
        assert [version for version, _, _ in told] == sorted({version for version, _, _ in told})
        assert told[0][1] == "new" and all(kind == "updated" for _, kind, _ in told[1:])
        assert [since for _, _, since in told[1:]] == [version for version, _, _ in told[:-1]]
        assert told[-1][0] == max(record.version or 0 for _, record in stories if record.id == id)


def date_of(day: int) -> str:
    """Days counted from 2024-02-01 on."""
    from datetime import date, timedelta

    return (date(2024, 1, 31) + timedelta(days=day)).isoformat()


def test_series_do_not_disturb_each_other(library: Library) -> None:
    remember(library, "one", made.digest(library))
    assert last_issue(library, "two") is None
    again = made.digest(library, since=last_issue(library, "one"), last="2024-03-25")
    assert again.entries == () and (again.first, again.previous) == ("2024-03-21", "2024-03-20")


def test_a_version_first_learned_of_later_is_no_update(tmp_path: Path) -> None:
    """A digest without versions showed the paper; the record then says that version 2 was out before that issue."""
    with Library.open(tmp_path / "library.sqlite") as library:
        library.add_records([Record("2402.00001", "digest", "T", published="2024-02-01")])
        shown = remember(library, "s", compose(library, first="2024-02-01", last="2024-02-20", now=NOW))
        late = Record("2402.00001", "oai", "T", published="2024-02-01", updated="2024-02-10", version=2)
        library.add_records([late])
        assert compose(library, first="2024-02-01", last="2024-03-01", now=NOW, since=shown).entries == ()
        library.add_records([replace(late, updated="2024-02-25", version=3)])
        (entry,) = compose(library, first="2024-02-01", last="2024-03-01", now=NOW, since=shown).entries
        assert (entry.kind, entry.version, entry.day) == ("updated", 3, "2024-02-25")
