"""Everything that arXiv's interfaces are known to do to a client, each as a run against the local server.

A scenario ends with the library that an undisturbed pull gives, or with an error that says when to try again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diffolio.errors import SourceError
from diffolio.papers.pull import PullReport, atom, oai, pull
from diffolio.papers.record import Record
from diffolio.papers.store import Library
from tests.papers import documents
from tests.papers.documents import Made, make, revised
from tests.papers.server import (
    Archive,
    Fault,
    cut,
    dripping,
    empty,
    html,
    instead,
    shortened,
    stalled,
    status,
)  # fmt: skip

SCENARIOS: dict[str, Callable[[Path], None]] = {}
SINCE = "2024-03-01"


def scenario(run: Callable[[Path], None]) -> Callable[[Path], None]:
    SCENARIOS[run.__name__] = run
    return run


def pulled(archive: Archive, folder: Path, name: str = "library", **call: Any) -> tuple[PullReport, str]:
    """One pull against the archive: report and fingerprint."""
    options = {"folder": folder / f"{name}-state"} | call.pop("polite", {})
    with Library.open(folder / f"{name}.sqlite") as library:
        report = pull(library, polite=archive.polite(**options), endpoints=archive.endpoints, **call)
        return report, library.fingerprint()


def disturbed(folder: Path, papers: list[Made], faults: list[Fault], waits: Callable[[list[float]], bool], **call: Any) -> None:
    """The same pull with and without faults ends in the same library; ``waits`` judges how long the client slept."""
    with Archive(papers) as calm:
        _, wanted = pulled(calm, folder, "calm", **call)
    with Archive(papers) as archive:
        archive.faults = list(faults)
        _, got = pulled(archive, folder, "disturbed", **call)
        archive.check_manners()
        assert got == wanted
        assert len(archive.visits) == len(calm.visits) + len([fault for fault in faults if fault])
        assert waits(archive.clock.slept), archive.clock.slept  # type: ignore[attr-defined]


def api(**more: Any) -> dict[str, Any]:
    return {"source": "api", "sets": ["cs.CV"], "since": SINCE} | more


@scenario
def both_shapes_of_atom(folder: Path) -> None:
    papers = make(60)
    said = []
    for shape in ("2025", "2026"):
        with Archive(papers, shape=shape) as archive:
            pulled(archive, folder, shape, **api())
        with Library.open(folder / f"{shape}.sqlite") as library:
            said.append([(p.id, p.title, p.abstract, _terms(p), p.published, p.updated, p.version) for p in library.records()])
    assert said[0] == said[1]
    assert [row[1:3] for row in said[0]] == [(" ".join(p.title.split()), " ".join(p.abstract.split())) for p in papers]


@scenario
def two_and_a_half_thousand_results_over_pages(folder: Path) -> None:
    with Archive(make(2500, days=10)) as archive:
        report, _ = pulled(archive, folder, **api())
        archive.check_manners()
    assert (report.new, report.pages) == (2500, 3)


@scenario
def more_results_in_one_minute_than_on_a_page(folder: Path) -> None:
    papers = [replace(paper, versions=("2024-03-05T10:11:12Z",)) for paper in make(60)]
    with Archive(papers) as archive:
        archive.most_per_page = 25
        report, _ = pulled(archive, folder, **api())
        archive.check_manners()
    assert (report.new, report.pages) == (60, 4)


@scenario
def papers_that_are_announced_but_never_sent(folder: Path) -> None:
    """The total counts papers that no page has: three walks, a report, and the window is asked for again later."""
    papers = make(30)
    with Archive(papers) as archive:
        archive.overstated = 4
        report, _ = pulled(archive, folder, **api())
        assert "announced 34 papers" in report.messages[0] and len(archive.visits) <= 8
        before = len(archive.visits)
        archive.overstated = 0
        archive.clock.pass_(2 * 86400)
        report, _ = pulled(archive, folder, source="api", sets=["cs.CV"])
        asked = [visit.query["search_query"] for visit in archive.visits[before:]]
        assert any("202403010000 TO 202403202359" in query for query in asked) and not report.messages
        archive.check_manners()


@scenario
def a_page_shorter_than_announced(folder: Path) -> None:
    with Archive(make(100, days=1)) as archive:
        archive.most_per_page = 37
        report, _ = pulled(archive, folder, **api())
        archive.check_manners()
    assert (report.new, report.pages) == (100, 3)


@scenario
def empty_twice_then_full(folder: Path) -> None:
    disturbed(folder, make(20), [empty(20), empty(20)], lambda slept: slept[0] >= 6 and slept[1] >= 12, **api())


@scenario
def an_error_entry(folder: Path) -> None:
    for code in (200, 400):
        with Archive(make(5)) as archive:
            archive.faults = [instead(documents.atom_error("malformed query"), code)]
            with pytest.raises(SourceError, match="malformed query"):
                pulled(archive, folder, **api())
            assert len(archive.visits) == 1  # asking again would not help


@scenario
def asked_to_wait_with_a_number(folder: Path) -> None:
    disturbed(folder, make(20), [status(429, retry_after="45")], lambda slept: 44 < slept[0] <= 45, **api())


@scenario
def asked_to_wait_with_a_date(folder: Path) -> None:
    fault = status(503, retry_after="Wed, 20 Mar 2024 12:02:00 GMT")
    with Archive(make(20)) as archive:
        archive.faults = [fault]
        # The server's date is the real one, so the client's own clock has to serve: the archive sends no Date then.
        pulled(archive, folder, **api())
        archive.check_manners()
        assert len(archive.visits) == 2


@scenario
def refused_for_now_without_a_reason(folder: Path) -> None:
    for code in (429, 503, 406):
        (folder / str(code)).mkdir()
        disturbed(
            folder / str(code), make(20), [status(code), status(code)], lambda slept: slept[0] >= 6 and slept[1] >= 12, **api()
        )


@scenario
def refused_every_time(folder: Path) -> None:
    with Archive(make(20)) as archive:
        archive.faults = [status(429)] * 50
        with pytest.raises(SourceError, match=r"in 5 tries.*try again after 2024-03-20 12:\d\d"):
            pulled(archive, folder, **api())
        assert len(archive.visits) == 5
        archive.check_manners()


@scenario
def told_to_wait_longer_than_anyone_should(folder: Path) -> None:
    with Archive(make(20)) as archive:
        archive.faults = [status(429, retry_after="7200")]
        for _ in range(2):  # the second time without asking: the pause is not over
            with pytest.raises(SourceError, match="try again after 2024-03-20 1[34]:"):
                pulled(archive, folder, **api())
        assert len(archive.visits) == 1
        archive.clock.sleep(7200)
        report, _ = pulled(archive, folder, **api())
        assert report.new == 20


@scenario
def a_stall(folder: Path) -> None:
    disturbed(folder, make(20), [stalled(20.0)], lambda slept: slept[0] >= 6, polite={"stall": 0.4}, **api())


@scenario
def an_answer_that_drips(folder: Path) -> None:
    with Archive(make(20)) as archive:
        archive.faults = [dripping(0.01)]
        report, _ = pulled(archive, folder, polite={"stall": 0.3}, **api())
        archive.check_manners()
    assert report.new == 20 and len(archive.visits) == 2


@scenario
def a_body_cut_at_every_kilobyte(folder: Path) -> None:
    papers = make(6)
    size = len(documents.atom(papers))
    with Archive(papers) as archive:
        _, wanted = pulled(archive, folder, "calm", **api())
    for number, at in enumerate(range(0, size, 1024)):
        for fault in (cut, shortened):
            with Archive(papers) as archive:
                archive.faults = [fault(at)]
                _, got = pulled(archive, folder, f"{fault.__name__}{number}", **api())
                archive.check_manners()
            assert got == wanted and len(archive.visits) == 2


@scenario
def a_login_page(folder: Path) -> None:
    for source in (api(), {"source": "oai", "since": SINCE}, {"source": "rss", "sets": ["cs.CV"]}):
        (folder / source["source"]).mkdir()
        disturbed(folder / source["source"], make(20), [html()], lambda slept: slept[0] >= 6, **source)


@scenario
def a_wrong_charset_in_the_header(folder: Path) -> None:
    papers = make(20)
    wrong = instead(documents.atom(papers), kind="text/html; charset=gbk")
    with Archive(papers) as archive:
        archive.faults = [wrong]
        pulled(archive, folder, **api())
        with Library.open(folder / "library.sqlite") as library:
            names = {author.name for record in library.records() for author in record.authors or ()}
        assert names == {f"{given} {family}" for paper in papers for family, given in paper.authors}


@scenario
def results_that_shift_between_pages(folder: Path) -> None:
    changes = {"gone": lambda papers: papers[5:], "more": lambda papers: [*make(5, serial=9000, days=1), *papers]}
    for name, change in changes.items():
        papers = make(450, days=1, serial=100)
        with Archive(papers) as archive:
            archive.most_per_page = 200

            def shift(_: object, archive: Archive = archive, change: Any = change) -> None:
                if len(archive.visits) == 2:
                    archive.papers = change(archive.papers)

            archive.before = shift
            pulled(archive, folder, name, **api())
            with Library.open(folder / f"{name}.sqlite") as library:
                assert {record.id for record in library.records()} >= {paper.id for paper in papers}
            archive.clock.pass_(86400)  # what appeared behind the pull's back comes with the next
            pulled(archive, folder, name, **api(since="30d"))
            archive.check_manners()
            with Library.open(folder / f"{name}.sqlite") as library:
                assert {record.id for record in library.records()} >= {paper.id for paper in archive.papers}


@scenario
def twenty_five_ids(folder: Path) -> None:
    papers = make(25)
    with Archive(papers) as archive:
        report, _ = pulled(archive, folder, source="api", ids=[paper.id for paper in papers])
        assert archive.visits[0].query["max_results"] == "25"
    assert report.new == 25 and not report.messages


@scenario
def pages_of_a_harvest(folder: Path) -> None:
    disturbed(folder, make(450), [None, html(), None, cut(3000), None], lambda slept: len(slept) >= 6, source="oai", since=SINCE)


@scenario
def a_token_that_ran_out(folder: Path) -> None:
    papers = make(450)
    with Archive(papers) as archive:
        _, wanted = pulled(archive, folder, "calm", source="oai", since=SINCE)
    with Archive(papers) as archive:
        archive.before = lambda visit: setattr(archive, "generation", int(len(archive.visits) >= 3))
        _, got = pulled(archive, folder, source="oai", since=SINCE)
        archive.check_manners()
    assert got == wanted
    begins = [visit.query["from"] for visit in archive.visits if "from" in visit.query]
    assert len(begins) == 2 and begins[1] > SINCE  # from the last datestamp, not from the start


@scenario
def tokens_that_always_run_out(folder: Path) -> None:
    with Archive([replace(paper, changed="2024-03-10") for paper in make(250)]) as archive:
        archive.before = lambda visit: setattr(archive, "generation", len(archive.visits))
        with pytest.raises(SourceError, match="refuses every continuation"):
            pulled(archive, folder, source="oai", since=SINCE)
        assert len(archive.visits) < 20


@scenario
def a_token_that_leads_in_circles(folder: Path) -> None:
    papers = make(250)
    with Archive(papers) as archive:
        archive.faults = [instead(documents.oai(papers[:100], token="same|0")) for _ in range(9)]
        with pytest.raises(SourceError, match="circles"):
            pulled(archive, folder, source="oai", since=SINCE)
        assert len(archive.visits) <= 3


@scenario
def deleted_records(folder: Path) -> None:
    papers = make(30)
    papers[3] = replace(papers[3], deleted=True)
    with Archive(papers) as archive:
        report, _ = pulled(archive, folder, source="oai", since=SINCE)
    assert report.deleted == (papers[3].id,) and report.new == 29


@scenario
def two_bulk_days(folder: Path) -> None:
    """All records change on two days: the increment brings them again and the library stays what it was."""
    papers = [replace(paper, changed="2024-03-12" if at % 2 else "2024-03-13") for at, paper in enumerate(make(300))]
    with Archive(papers) as archive:
        _, wanted = pulled(archive, folder, source="oai", since=SINCE)
        archive.papers = [replace(paper, changed="2024-03-19") for paper in papers]
        report, got = pulled(archive, folder, source="oai")
        archive.check_manners()
    assert got == wanted and (report.new, report.changed, report.same) == (0, 0, 300)
    assert archive.visits[3].query["from"] == "2024-03-13"  # a week before the server's last answer


@scenario
def histories(folder: Path) -> None:
    paper = revised(revised(make(1)[0], "2024-03-15T01:02:03Z"), "2024-03-17T04:05:06Z")
    with Archive([paper]) as archive:
        pulled(archive, folder, source="oai", since=SINCE)
    with Library.open(folder / "library.sqlite") as library:
        told = library.paper(paper.id)
    assert told and [(v.n, v.submitted) for v in told.versions] == list(enumerate(paper.versions, start=1))
    assert told.published == paper.versions[0] and told.updated == paper.versions[-1]


@scenario
def an_empty_window(folder: Path) -> None:
    with Archive(make(5)) as archive:
        report, _ = pulled(archive, folder, source="oai", since="2024-03-19")
        assert (report.received, len(archive.visits)) == (0, 1)
        report, _ = pulled(archive, folder, **api(since="2024-03-19"))
        assert report.received == 0


@scenario
def four_announce_types_and_an_old_id(folder: Path) -> None:
    papers = make(4)
    old = replace(papers[0], id="hep-th/9901001", categories=("hep-th",))
    with Archive([*papers, old]) as archive:
        archive.announced = [*zip(papers, ("new", "cross", "replace", "replace-cross"), strict=True), (old, "replace")]
        report, _ = pulled(archive, folder, source="rss", sets=["cs.CV+hep-th"])
        archive.check_manners()
    with Library.open(folder / "library.sqlite") as library:
        types = [library.paper(paper.id).announcements[0].type for paper in [*papers, old]]  # type: ignore[union-attr]
    assert types == ["new", "cross", "replace", "replace-cross", "replace"]
    assert archive.visits[0].path == "/rss/cs.CV+hep-th" and not report.gaps


@scenario
def an_empty_weekend(folder: Path) -> None:
    with Archive(make(4)) as archive:
        report, _ = pulled(archive, folder, source="rss", sets=["cs.CV"])
    assert report.received == 0 and "no announcements today" in report.messages[0] and len(archive.visits) == 1


@scenario
def redirected(folder: Path) -> None:
    with Archive(make(4)) as archive:
        archive.faults = [instead(b"", 301, headers=(("Location", "/api/query?id_list=2403.00001&max_results=1"),))]
        report, _ = pulled(archive, folder, source="api", ids=["2403.00001"])
        archive.check_manners()  # the second hop waits for its turn too
        assert report.new == 1 and len(archive.visits) == 2
        archive.faults = [instead(b"", 302, headers=(("Location", "http://elsewhere.example/x"),))]
        with pytest.raises(SourceError, match="another site"):
            pulled(archive, folder, source="api", ids=["2403.00002"])


@scenario
def an_answer_without_end(folder: Path) -> None:
    with Archive(make(300)) as archive:
        with pytest.raises(SourceError, match="sends more than 0 MB"):
            pulled(archive, folder, polite={"largest": 20_000}, **api())
        assert len(archive.visits) == 1


@scenario
def one_record_that_cannot_be_read(folder: Path) -> None:
    papers = make(10)
    body = documents.oai(papers).replace(b"2403.00004", b"2413.00004").replace(b"oai:arXiv.org:2403.00004", b"x")
    with Archive(papers) as archive:
        archive.faults = [instead(body)]
        report, _ = pulled(archive, folder, source="oai", since=SINCE)
    assert report.new == 9 and len(report.rejected) == 1 and "month 13" in report.rejected[0]


@scenario
def nobody_there(folder: Path) -> None:
    with Archive() as archive:
        endpoints = archive.endpoints
    with Library.open(folder / "library.sqlite") as library:
        polite = archive.polite(folder)
        with pytest.raises(SourceError, match=r"in 5 tries \(last: ConnectError"):
            pull(library, endpoints=endpoints, polite=polite, **api())
        assert polite.requests == 5 and len(library) == 0


def check_readers_agree() -> None:
    """The same papers through every shape give the same texts."""
    papers = make(30)
    shapes = [atom.read(documents.atom(papers, shape=shape)) for shape in ("2025", "2026")]
    shapes += [oai.read(documents.oai(papers, prefix=prefix)) for prefix in ("arXiv", "arXivRaw")]
    texts = [
        [(r.id, r.title, r.abstract, _terms(r), r.comments, [a.name for a in r.authors or ()]) for r in shape] for shape in shapes
    ]
    assert all(told == texts[0] for told in texts[1:])


def _terms(record: Record) -> tuple[str, list[str]]:
    """The primary category, and the others in an order that does not depend on the source."""
    first, *others = record.categories or ("",)
    return first, sorted(others)
