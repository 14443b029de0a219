"""The library: trust, versions, order of arrival, issues, repairs, marks, and everything that can go wrong with a file."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffolio.errors import BadInput, LibraryError, UnknownName
from diffolio.papers import export, schema
from diffolio.papers.record import SOURCES, Author, Entry, ImportedSummary, Issue, Record, Repair, Version
from diffolio.papers.runnable import Runnable
from diffolio.papers.store import Counts, Library, default_path
from diffolio.papers.view import Summary

ID, OTHER = "2403.12963", "2403.12964"


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "library.sqlite") as opened:
        yield opened


def entry(id: str = ID, **told: object) -> Entry:
    return Entry(id, {}, **({"title": "Sharper kites"} | told))  # type: ignore[arg-type]


def issue(*entries: Entry, last: str = "2024-03-28", series: str = "Kites") -> Issue:
    return Issue("topic-list", series, "kite", last, last, entries)


# Records


def test_a_record_comes_back_with_its_provenance(library: Library) -> None:
    record = Record(
        ID, "api", "Kites", "We fly kites.", (Author("Ana Bo", "Bo", "Ana", "Kite Lab"),), categories=("cs.CV", "cs.LG"),
        comments="8 pages", doi="10.5555/1", published="2024-03-19T17:59:58Z", updated="2024-03-21T08:00:00Z", version=2,
        versions=(Version(1, "2024-03-19T17:59:58Z", size="10kb"),), extra={"acm": ["I.4"]}, retrieved="2024-03-22",
    )  # fmt: skip
    assert library.add_records([record]) == Counts(new=1)
    paper = library.paper(f"https://arxiv.org/abs/{ID}v2")
    assert paper is not None and ID in library and len(library) == 1
    assert replace(paper.record(), versions=(), retrieved="2024-03-22") == replace(record, versions=())
    assert [v.n for v in paper.versions] == [1, 2] and paper.versions[0].size == "10kb"
    assert paper.versions[1].submitted == "2024-03-21T08:00:00Z" and paper.versions[1].title == "Kites"
    assert paper.facts["title"].source == "api" and paper.facts["title"].retrieved == "2024-03-22"
    assert [r.title for r in library.records()] == ["Kites"]
    assert [text for _, *text in library.texts()] == [["Kites", "We fly kites."]]


def test_the_same_record_twice_changes_nothing(library: Library) -> None:
    record = Record(ID, "oai", "Kites", "Text", version=3, versions=(Version(1), Version(2), Version(3)), published="2024-03-19")
    assert library.add_records([record, record]) == Counts(new=1)
    before = library.fingerprint()
    assert library.add_records([record]) == Counts(same=1) and library.fingerprint() == before


def test_a_less_trusted_source_never_overwrites(library: Library) -> None:
    for source in reversed(SOURCES):
        library.add_records([Record(ID, source, f"Title by {source}", comments=f"by {source}")])
        paper = library.paper(ID)
        assert paper is not None and paper.title == f"Title by {source}" and paper.facts["comments"].source == source
    for source in SOURCES[2:]:
        assert library.add_records([Record(ID, source, "Another title", version=1)]).new == 0
        paper = library.paper(ID)
        assert paper is not None and paper.title == "Title by oai"


def test_silence_never_erases_and_a_cut_author_list_is_completed(library: Library) -> None:
    library.add_records([Record(ID, "digest", "Kites", authors=(Author("A. Bo"),), authors_cut=True)])
    library.add_records([Record(ID, "digest", authors=(Author("A. Bo"), Author("C. Do")), retrieved="2020-01-01")])
    library.add_records([Record(ID, "oai", categories=("cs.CV",))])
    paper = library.paper(ID)
    assert paper is not None and paper.title == "Kites" and not paper.authors_cut
    assert [author.name for author in paper.authors or ()] == ["A. Bo", "C. Do"]


def test_a_paper_of_which_only_the_id_is_known_can_be_completed(library: Library) -> None:
    library.add_records([Record(ID, "rss", retrieved="2024-03-20")])
    library.add_records([Record(ID, "api", "Kites", "Text", (Author("A"),), categories=("cs.CV",))])
    paper = library.paper(ID)
    assert paper is not None and paper.title == "Kites" and not [f for f in library.doctor() if f.level == "error"]


def test_a_new_version_keeps_the_old_text(library: Library) -> None:
    library.add_records([Record(ID, "api", "Kites", "One string.", version=1)])
    assert library.add_records([Record(ID, "api", "Kites II", "Two strings.", version=2)]) == Counts(changed=1)
    library.add_records([Record(ID, "rss", "Kites III", "Three.", version=3, announced="replace", retrieved="2024-04-01")])
    paper = library.paper(ID)
    assert paper is not None and paper.title == "Kites II" and paper.version == 3
    assert [(v.n, v.title, v.abstract) for v in paper.versions] == [
        (1, "Kites", "One string."), (2, "Kites II", "Two strings."), (3, "Kites III", "Three."),
    ]  # fmt: skip
    assert paper.announcements[0].type == "replace" and paper.announcements[0].day == "2024-04-01"


@pytest.mark.parametrize("record", [Record("2413.00001", "api"), Record("kite", "api"), Record("2403.123", "api")])
def test_a_wrong_id_is_refused_and_nothing_of_the_batch_is_kept(library: Library, record: Record) -> None:
    with pytest.raises(BadInput):
        library.add_records([Record(ID, "api", "Kites"), record])
    assert len(library) == 0


def test_an_unknown_source_is_refused(library: Library) -> None:
    with pytest.raises(UnknownName, match="digest"):
        library.add_records([Record(ID, "digst", "Kites")])


def test_what_does_not_agree_is_found_and_built_anew(library: Library) -> None:
    library.add_records([Record(f"2403.{i:05}", "oai", f"Kite {i}", "Text", (Author("A"),), published="2024-03-19", version=2)
                         for i in range(1, 9)])  # fmt: skip
    before = library.fingerprint()
    with library.transaction():
        library.connection.execute("DELETE FROM facet WHERE key % 2")
        library.connection.execute("INSERT INTO text(text) VALUES ('delete-all')")
        library.connection.execute("UPDATE month SET papers = 3")
    assert len([finding for finding in library.doctor() if finding.level == "error"]) == 3
    library.reindex()
    assert not [finding for finding in library.doctor() if finding.level == "error"]
    assert len(library) == 8 and library.fingerprint() == before


def test_odd_text_is_stored(library: Library) -> None:
    odd = "nul \0, lone \ud800, <script>, 中文, e\u0301"
    library.add_records([Record(ID, "api", odd, odd, (Author("A\nB"),))])
    paper = library.paper(ID)
    assert paper is not None and paper.title == odd.replace("\ud800", "\ufffd") and paper.authors == (Author("A B"),)
    assert library.fingerprint()


# Order of arrival

texts = st.sampled_from([None, "a", "b", "c"])
stamps = st.sampled_from([None, "2024-03-01", "2024-03-02"])
versions = st.lists(st.builds(Version, st.integers(1, 3), stamps, texts, texts, size=texts), max_size=2).map(tuple)
records = st.builds(
    Record, st.sampled_from([ID, OTHER]), st.sampled_from(SOURCES), texts, texts,
    authors=st.sampled_from([None, (Author("A"),), (Author("A"), Author("B", "B"))]), authors_cut=st.booleans(),
    categories=st.sampled_from([None, ("cs.CV",), ("cs.LG", "cs.CV")]), published=stamps, updated=stamps,
    version=st.sampled_from([None, 1, 2, 3]), versions=versions, withdrawn=st.booleans(), announced=st.sampled_from([None, "new"]),
    retrieved=stamps, extra=st.sampled_from([{}, {"x": 1}]),
)  # fmt: skip


def exported(library: Library) -> str:
    stream = io.StringIO()
    library.export_jsonl(stream)
    return stream.getvalue()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(records, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_library(told: list[Record], rng: object) -> None:
    shuffled = list(told)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    with Library.open(":memory:") as one, Library.open(":memory:") as two:
        one.add_records(told)
        for record in shuffled:
            two.add_records([record])
        assert exported(one) == exported(two) and one.fingerprint() == two.fingerprint()
        assert all(count.same for count in [two.add_records([record]) for record in told])
        assert one.doctor() == [f for f in one.doctor() if f.level != "error"]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(records, min_size=1, max_size=4))
def test_an_export_can_be_imported_again(told: list[Record]) -> None:
    with Library.open(":memory:") as one, Library.open(":memory:") as two:
        one.add_records(replace(record, announced=None, versions=()) for record in told)
        for line in exported(one).splitlines():
            two.add_records(export.records_of(json.loads(line)))
        for id in (ID, OTHER):
            a, b = one.paper(id), two.paper(id)
            assert (a is None) == (b is None)
            assert a is None or b is None or replace(a, facts={}) == replace(b, facts={})
            assert (
                a is None or b is None or {n: f.source for n, f in a.facts.items()} == {n: f.source for n, f in b.facts.items()}
            )


# Issues, repairs, summaries


def test_an_issue_is_kept_with_its_file_and_listings(library: Library) -> None:
    first = issue(entry(lines=(3, 5), version=1), entry(OTHER, title="Other"))
    assert library.add_issue(first, sha256="a", raw=b"raw file") == Counts(new=2)
    assert library.add_issue(first, sha256="a", raw=b"raw file") == Counts(same=2)
    library.add_issue(issue(entry(version=2), last="2024-03-29"), sha256="b", raw=b"next")
    paper = library.paper(ID)
    assert paper is not None and [(x.last, x.position, x.lines) for x in paper.listings] == [
        ("2024-03-28", 1, (3, 5)), ("2024-03-29", 1, (0, 0)),
    ]  # fmt: skip
    assert library.raw("a") == b"raw file" and [i["sha256"] for i in library.issues()] == ["a", "b"]
    with pytest.raises(BadInput):
        library.raw("c")


def test_issues_commute(tmp_path: Path) -> None:
    issues = [
        issue(entry(title="Kite one", version=1), entry(OTHER, title="Other")),
        issue(entry(title="Kite two", version=2, authors=("A",), date="2024-03-19"), last="2024-03-29"),
        issue(entry(title="Kite 3", repairs=(Repair("title", "charset", "K", "Kite 3", 0.9),)), last="2024-03-30", series="Z"),
    ]
    prints = set()
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        with Library.open(tmp_path / f"{order}.sqlite") as opened:
            for i in order:
                opened.add_issue(issues[i], sha256=str(i), raw=b"")
            prints.add(opened.fingerprint())
    assert len(prints) == 1


def test_a_repaired_field_is_less_trusted_and_can_be_undone(library: Library) -> None:
    mended = Repair("abstract", "joined-words", "Wefly kites.", "We fly kites.", 0.4)
    first = issue(entry(abstract="We fly kites.", version=1, repairs=(mended,)))
    library.add_issue(first, sha256="a", raw=b"")
    paper = library.paper(ID)
    assert paper is not None and paper.facts["abstract"].source == "digest-repaired" and paper.facts["title"].source == "digest"
    assert paper.uncertain == {"abstract"} and any("uncertain" in finding.what for finding in library.doctor())
    assert library.undo(paper.repairs[0]) and not library.undo(paper.repairs[0])
    assert library.paper(ID).abstract == "Wefly kites." and not library.paper(ID).uncertain  # type: ignore[union-attr]
    library.add_issue(replace(first, last="2024-03-29"), sha256="b", raw=b"")
    assert library.paper(ID).abstract == "Wefly kites."  # type: ignore[union-attr]
    assert len(library.repairs()) == 1 and library.redo(library.repairs(ID)[0])
    assert library.paper(ID).abstract == "We fly kites."  # type: ignore[union-attr]
    with pytest.raises(BadInput):
        library.undo(99)


def test_what_a_model_wrote_is_a_summary_and_never_the_record(library: Library) -> None:
    told = ImportedSummary("raw", "zh", "风筝飞得更高", ("更快",), {"authors": "Wrong Name"})
    library.add_issue(issue(entry(summary=told)), sha256="a", raw=b"")
    paper = library.paper(ID)
    assert paper is not None and paper.authors is None and paper.summaries[0].kind == "imported"
    assert paper.summaries[0].body["fields"] == {"authors": "Wrong Name"} and "风筝" in paper.summaries[0].text


def test_a_summary_of_the_same_call_is_replaced(library: Library) -> None:
    library.add_records([Record(ID, "api", "Kites", version=1)])
    library.add_summary(ID, Summary("en", "endpoint", {"tldr": "old"}, 1, "m", at="2024-01-01"))
    library.add_summary(ID, Summary("en", "endpoint", {"tldr": "new"}, 1, "m", at="2024-01-02", check={"ok": True}))
    library.add_summary(ID, Summary("de", "endpoint", {"tldr": "neu"}, 1, "m"))
    assert [(s.language, s.body["tldr"]) for s in library.summaries(ID)] == [("de", "neu"), ("en", "new")]


# The user's own


def test_marks(library: Library) -> None:
    library.add_records([Record(ID, "api", "Kites")])
    before = library.fingerprint()
    library.mark(ID, "like", at="2024-01-01T00:00:00Z")
    library.mark(ID, "tag", "strings")
    library.mark(ID, "dislike")
    paper = library.paper(ID)
    assert paper is not None and [(m.kind, m.value) for m in paper.marks] == [("dislike", ""), ("tag", "strings")]
    assert library.marked("tag")[0][0] == ID and library.fingerprint() == before
    assert library.unmark(ID, "tag", "strings") and not library.unmark(ID, "tag")
    with pytest.raises(UnknownName, match="like"):
        library.mark(ID, "lik")
    with pytest.raises(BadInput, match="not in the library"):
        library.mark(OTHER, "like")
    with pytest.raises(BadInput, match="text"):
        library.mark(ID, "tag", " ")


def test_works_are_reversible_and_stay_undone(library: Library) -> None:
    library.add_records([Record(ID, "api", "Kites"), Record(OTHER, "api", "Kites")])
    work = library.add_work([ID, OTHER], kind="twin", confidence=1.0, reason="same title")
    assert library.paper(ID).works == (work,) and work.papers == (ID, OTHER)  # type: ignore[union-attr]
    library.set_work(work.id, "undone")
    assert library.add_work([OTHER, ID], kind="twin", confidence=1.0).status == "undone"
    assert library.works("merged") == [] and len(library.works()) == 1


def test_states_queries_and_cache(library: Library) -> None:
    def interrupted() -> None:
        with library.transaction():
            library.add_records([Record(ID, "api", "Kites")])
            library.set_state("pull/rss", {"token": "x"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert library.get_state("pull/rss") is None and len(library) == 0
    library.set_state("pull/rss", {"token": "y"})
    assert library.states("pull/") == {"pull/rss": {"token": "y"}}
    library.set_query("kites", "kite -string", format="html")
    assert library.queries() == {"kites": ("kite -string", {"format": "html"})} and library.delete_query("kites")
    library.cache("http://x", "2024-01-01", b"body")
    assert library.cached("http://x", "2024-01-01") == b"body" and library.cached("http://x", "2024-01-02") is None


def test_a_paper_that_runs_says_so(tmp_path: Path) -> None:
    method = Runnable(ID, "kite", "resolution", "diffolio run kite", "holds", "0.41 -> 0.29 (n=32)")
    with Library.open(tmp_path / "l.sqlite", methods={ID: method}) as opened:
        opened.add_records([Record(ID, "api", "Kites"), Record(OTHER, "api", "Other")])
        assert opened.paper(ID).runnable == method and opened.paper(OTHER).runnable is None  # type: ignore[union-attr]
        assert opened.stats()["runnable"] == 1
    assert method.line == "runs: diffolio run kite · claim holds 0.41 -> 0.29 (n=32)"


# Files


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIFFOLIO_LIBRARY", str(tmp_path / "mine.sqlite"))
    assert default_path() == tmp_path / "mine.sqlite"
    monkeypatch.delenv("DIFFOLIO_LIBRARY")
    assert default_path().name == "library.sqlite" and "diffolio" in str(default_path())


def test_read_only(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    with pytest.raises(LibraryError, match="no library"):
        Library.open(path, readonly=True)
    with Library.open(path) as opened:
        opened.add_records([Record(ID, "api", "Kites")])
    with Library.open(path, readonly=True) as opened:
        assert opened.paper(ID) is not None and opened.fingerprint()
        with pytest.raises(LibraryError, match="read-only"):
            opened.add_records([Record(OTHER, "api", "Other")])


def test_read_only_disk(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    with Library.open(path) as opened:
        opened.add_records([Record(ID, "api", "Kites")])
    below = Path(tempfile.gettempdir())
    for folder in [tmp_path, *tmp_path.parents]:  # pytest's own folders are closed to others
        if below in folder.parents:
            folder.chmod(0o755)
    path.chmod(0o444)
    user = os.geteuid()
    tmp_path.chmod(0o555)
    if user == 0:
        os.seteuid(65534)  # the superuser may write anything
    try:
        with pytest.raises(LibraryError, match="written"):
            Library.open(path)
        with pytest.raises(LibraryError, match="written"):
            Library.open(tmp_path / "new" / "library.sqlite")
        with Library.open(path, readonly=True) as opened:
            assert opened.paper(ID) is not None
    finally:
        if user == 0:
            os.seteuid(0)
        tmp_path.chmod(0o755)


def test_disk_full_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    many = [Record(f"2403.{i:05}", "api", f"Kite {i}", "word " * 400) for i in range(1, 2000)]
    with Library.open(path) as opened:
        opened.add_records(many[:5])
        before = opened.fingerprint()
        pages = opened.connection.execute("PRAGMA page_count").fetchone()[0]
        opened.connection.execute(f"PRAGMA max_page_count = {pages + 20}")
        with pytest.raises(LibraryError, match="disk is full"):
            opened.add_records(many)
        assert opened.fingerprint() == before and len(opened) == 5
        opened.connection.execute("PRAGMA max_page_count = 1000000")
        assert opened.add_records(many).new == len(many) - 5 and opened.doctor()[0].level != "error"


def test_a_killed_import_leaves_the_previous_state(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    with Library.open(path) as opened:
        opened.add_records([Record(ID, "api", "Kites")])
        before = opened.fingerprint()
    code = f"""
import os
from diffolio.papers.record import Record
from diffolio.papers.store import Library
def records():
    for i in range(1, 12000):
        yield Record(f"2401.{{i:05}}", "api", "Kite", "word " * 100)
    os.kill(os.getpid(), 9)
Library.open({str(path)!r}).add_records(records())
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=60).returncode == -9
    with Library.open(path) as opened:
        assert opened.fingerprint() == before and not [f for f in opened.doctor() if f.level == "error"]


def test_two_processes_writing(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    Library.open(path).close()
    code = """
import sys
from diffolio.papers.record import Record
from diffolio.papers.store import Library
with Library.open(sys.argv[1]) as library:
    for i in range(1, 40):
        library.add_records([Record(f"{sys.argv[2]}.{i:05}", "api", f"Kite {i}", "word " * 50, categories=("cs.CV",))])
"""
    root = Path(__file__).parents[2]
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), month], cwd=root) for month in ("2401", "2402")]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    with Library.open(path) as opened:
        assert len(opened) == 78 and not [f for f in opened.doctor() if f.level == "error"]


def test_waiting_too_long_for_another_writer_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "library.sqlite"
    monkeypatch.setattr(schema, "WAIT", 0.05)
    with Library.open(path) as one, Library.open(path) as two, one.transaction():
        with pytest.raises(LibraryError, match="another process"):
            two.add_records([Record(ID, "api", "Kites")])


def test_a_newer_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    Library.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    for readonly in (True, False):
        with pytest.raises(LibraryError, match="newer Diffolio.*999"):
            Library.open(path, readonly=readonly)


def test_an_older_library_is_migrated_or_refused_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "library.sqlite"
    with Library.open(path) as opened:
        opened.add_records([Record(ID, "api", "Kites")])
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, "CREATE TABLE later (x);\nINSERT INTO later VALUES (7)"])
    with pytest.raises(LibraryError, match="older Diffolio"):
        Library.open(path, readonly=True)
    with Library.open(path) as opened:
        assert opened.connection.execute("SELECT x FROM later").fetchone() == (7,) and opened.paper(ID) is not None
    with monkeypatch.context() as broken:
        broken.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, "CREATE TABLE more (x);\nnonsense"])
        with pytest.raises(LibraryError):
            Library.open(path)
    with Library.open(path) as opened:
        assert opened.connection.execute("PRAGMA user_version").fetchone() == (2,)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "library.sqlite"
    path.write_bytes(content)
    with pytest.raises(LibraryError):
        Library.open(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    with pytest.raises(LibraryError, match="another program"):
        Library.open(path)


def test_a_library_can_be_read_from_another_thread_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "library.sqlite"
    found: list[int] = []
    with Library.open(path) as opened:
        opened.add_records([Record(ID, "api", "Kites")])

        def read() -> None:
            with Library.open(path, readonly=True) as other:
                found.append(len(other))

        with opened.transaction():
            opened.add_records([Record(OTHER, "api", "Other")])
            thread = threading.Thread(target=read)
            thread.start()
            thread.join(timeout=20)
    assert found == [1]
