"""Pulls that are killed, gaps that are noticed, increments, caches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from diffolio.errors import BadInput, SourceError
from diffolio.papers.identifiers import base_of, key_of
from diffolio.papers.pull import gaps, pull
from diffolio.papers.pull.api import query_text
from diffolio.papers.pull.harvest import set_of
from diffolio.papers.store import Library
from tests.papers.documents import make, revised
from tests.papers.pull.kill import CALLS, killed_then_resumed, undisturbed
from tests.papers.pull.scenarios import SINCE, api, pulled
from tests.papers.server import Archive, status


@pytest.mark.parametrize("name", CALLS)
def test_killed_anywhere_a_pull_ends_in_the_same_library(name: str, tmp_path: Path) -> None:
    wanted, events = undisturbed(name, tmp_path)
    for number, share in enumerate((0.05, 0.3, 0.6, 0.95)):
        got, manners = killed_then_resumed(name, tmp_path / str(number), after=max(1, int(events * share)))
        assert got == wanted and manners


def test_a_refused_pull_goes_on_where_it_stopped(tmp_path: Path) -> None:
    papers = make(450)
    with Archive(papers) as archive:
        _, wanted = pulled(archive, tmp_path, "calm", source="oai", since=SINCE)
    with Archive(papers) as archive:
        archive.faults = [None, None, *[status(503)] * 5]
        with pytest.raises(SourceError, match="200 records of this pull are kept"):
            pulled(archive, tmp_path, source="oai", since=SINCE)
        report, got = pulled(archive, tmp_path, source="oai")  # without dates: whatever was begun
        assert report.resumed and got == wanted
        assert [v.query.get("from") for v in archive.visits].count(SINCE) == 1
        archive.check_manners()


def test_what_was_announced_but_not_received_is_asked_for_after_1_2_and_7_days(tmp_path: Path) -> None:
    papers = make(12)
    with Archive(papers) as archive:
        archive.announced = [(paper, "new") for paper in papers]
        archive.withheld = {papers[2].id, papers[5].id}
        report, _ = pulled(archive, tmp_path, source="rss", sets=["cs.CV"])
        assert report.gaps == (papers[2].id, papers[5].id) and len(report.filled) == 10
        archive.announced = []
        asked = []
        for day in range(1, 10):
            archive.clock.pass_(86400)
            if day == 2:
                archive.withheld = {papers[5].id}
            before = len(archive.visits)
            report, _ = pulled(archive, tmp_path, source="rss")
            asked += [day] * sum("id_list" in visit.query for visit in archive.visits[before:])
        assert asked == [1, 2, 7]
        assert report.gaps == (papers[5].id,) and "never came" in report.messages[-1]
        archive.check_manners()


def test_a_harvest_notices_what_only_the_feed_had(tmp_path: Path) -> None:
    papers = make(20)
    with Archive(papers) as archive:
        archive.day, archive.announced = "2024-03-12", [(paper, "new") for paper in papers]
        pulled(archive, tmp_path, source="rss", sets=["cs.CV"], complete=False)
        archive.withheld = {papers[7].id}
        report, _ = pulled(archive, tmp_path, source="oai", sets=["cs.CV"], since=SINCE)
        assert report.gaps == (papers[7].id,) and "1 papers were announced" in report.messages[0]
        assert archive.visits[1].query["set"] == "cs:cs:CV"


def test_a_newer_announced_version_is_a_gap() -> None:
    with Library.open(":memory:") as library:
        from diffolio.papers.pull import atom, rss
        from tests.papers import documents

        paper = replace(make(1)[0], versions=("2024-03-04T00:00:00Z",))
        newer = revised(paper, "2024-03-10T00:00:00Z")
        library.add_records(atom.read(documents.atom([paper])))
        assert gaps.incomplete(library, [paper.id]) == []
        library.add_records(rss.read(documents.rss([(newer, "replace")])))
        assert gaps.incomplete(library, [paper.id]) == [paper.id]
        library.add_records(atom.read(documents.atom([newer])))
        assert gaps.incomplete(library, [paper.id]) == []


def test_missing_serial_numbers(tmp_path: Path) -> None:
    keys = [key_of(f"2402.{n:05}") for n in (*range(3, 40), *range(60, 90))] + [key_of("2403.00030"), key_of("hep-th/9901001")]
    assert [(base_of(low), base_of(high)) for low, high in gaps.missing_runs(keys)] == [
        ("2402.00040", "2402.00059"),
        ("2403.00001", "2403.00029"),
    ]
    with Archive([*make(40, first="2024-02-05"), *make(40, first="2024-02-20", serial=61)]) as archive:
        report, _ = pulled(archive, tmp_path, source="oai", since="2024-02-01")
    assert "2402.00041 to 2402.00060 are absent (20)" in report.messages[0] and len(report.gaps) == 20


def test_a_call_is_answered_from_the_cache_for_the_rest_of_the_day(tmp_path: Path) -> None:
    with Archive(make(10)) as archive:
        first, wanted = pulled(archive, tmp_path, **api())
        again, got = pulled(archive, tmp_path, **api())
        assert (first.requests, again.requests, got) == (1, 0, wanted)
        archive.clock.pass_(86400)
        assert pulled(archive, tmp_path, **api())[0].requests == 1


def test_an_increment_begins_a_week_before_the_last_end(tmp_path: Path) -> None:
    with Archive(make(10)) as archive:
        pulled(archive, tmp_path, **api())
        archive.clock.pass_(3 * 86400)
        report, _ = pulled(archive, tmp_path, source="api", sets=["cs.CV"])
    assert (report.first, report.last) == ("2024-03-13", "2024-03-23")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"source": "web"}, "unknown source"),
        ({"source": "rss"}, "name the categories"),
        ({"source": "rss", "sets": ["cs/CV"]}, "not a category"),
        ({"source": "rss", "sets": ["cs.CV"], "since": "7d"}, "only today's"),
        ({"source": "api"}, "say what to pull"),
        ({"source": "api", "query": "x", "since": "2024-02-30"}, "is no date"),
        ({"source": "api", "query": "x", "since": "2024-03-10", "until": "2024-03-01"}, "is empty"),
        ({"source": "api", "ids": ["2413.00001"]}, "month 13"),
        ({"source": "oai", "query": "x"}, "sets and dates only"),
        ({"source": "oai", "prefix": "oai_dc"}, "metadata format"),
    ],
)
def test_calls_that_cannot_be_made(call: dict, said: str, tmp_path: Path) -> None:
    with Archive() as archive, Library.open(tmp_path / "library.sqlite") as library:
        with pytest.raises(BadInput, match=said):
            pull(library, polite=archive.polite(tmp_path), endpoints=archive.endpoints, **call)
        assert not archive.visits


def test_names_of_sets_and_queries() -> None:
    names = ("cs", "cs.CV", "hep-th", "cond-mat.mtrl-sci", "physics.ao-ph", "math.AG", "astro-ph.*")
    assert [set_of(name) for name in names] == [
        "cs", "cs:cs:CV", "physics:hep-th", "physics:cond-mat:mtrl-sci", "physics:physics:ao-ph", "math:math:AG", "physics:astro-ph",
    ]  # fmt: skip
    assert query_text(["cs.CV", "hep-th", "cs"], "abs:x  OR ti:y") == "(cat:cs.CV OR cat:hep-th OR cat:cs.*) AND (abs:x OR ti:y)"
