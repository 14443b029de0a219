"""Atom, RSS and OAI-PMH: what is read, what is refused, and that nothing is swallowed whole."""

from __future__ import annotations

import contextlib
import io
import random
from pathlib import Path

import pytest

from diffolio.errors import BadInput, DiffolioError, SourceError
from diffolio.papers.pull import atom, fields, oai, rss, stream
from diffolio.papers.record import Author
from tests.papers import documents
from tests.papers.documents import make

READERS = {"atom": atom, "rss": rss, "oai": oai}
PAPERS = make(8)
ANNOUNCED = [(paper, "new") for paper in PAPERS]
DOCUMENTS = {
    "atom-2025": documents.atom(PAPERS, shape="2025"),
    "atom-2026": documents.atom(PAPERS),
    "rss": documents.rss(ANNOUNCED),
    "rss-atom": documents.announcements_atom(ANNOUNCED),
    "oai-raw": documents.oai(PAPERS, token="more"),
    "oai-arxiv": documents.oai(PAPERS, prefix="arXiv"),
}


def reader_of(data: bytes):
    found = [module for module in READERS.values() if module.sniff(data[:65536])]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_each_shape_is_known_by_its_beginning_and_read_whole(name: str) -> None:
    data = DOCUMENTS[name]
    module = reader_of(data)
    assert module.__name__.rpartition(".")[2] == name.partition("-")[0]
    records = list(module.read(data))
    assert [record.id for record in records] == [paper.id for paper in PAPERS]
    for record, paper in zip(records, PAPERS, strict=True):
        assert record.title == " ".join(paper.title.split()) and record.abstract == " ".join(paper.abstract.split())
        assert [author.name for author in record.authors or ()] == [f"{given} {family}" for family, given in paper.authors]
        assert record.categories and record.categories[0] == paper.categories[0]
        assert set(record.categories) == set(paper.categories)
    assert list(module.read(io.BytesIO(data))) == records


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1"])
def test_the_encoding_is_the_one_that_the_document_declares(encoding: str) -> None:
    text = documents.atom([PAPERS[0]]).decode().replace("UTF-8", encoding)
    assert list(atom.read(text.encode(encoding, "xmlcharrefreplace"))) == list(atom.read(documents.atom([PAPERS[0]])))


def test_facts_of_the_api() -> None:
    first = next(atom.read(documents.atom(PAPERS, shape="2025")))
    assert first.authors and first.authors[0].affiliation == "An Institute"
    assert first.extra["classes"] == ["68T45", "I.2.10"]
    assert (first.version, first.published, first.updated) == (
        len(PAPERS[0].versions),
        PAPERS[0].published,
        PAPERS[0].versions[-1],
    )
    assert first.retrieved == "2024-03-20T04:00:00Z"
    assert next(atom.read(documents.atom(PAPERS))).extra["new_element"] == "kept"
    page = atom.page(documents.atom(PAPERS, total=77, start=10))
    assert (page.total, len(page.records)) == (77, 8)
    with pytest.raises(SourceError, match="incorrect id format"):
        list(atom.read(documents.atom_error("incorrect id format for 1")))


def test_facts_of_announcements() -> None:
    record = next(rss.read(documents.rss([(PAPERS[0], "replace-cross")], day="2024-03-05")))
    assert (record.announced, record.retrieved, record.licence) == ("replace-cross", "2024-03-05T05:00:00Z", documents.LICENCE)
    assert record.published is None and record.comments is None
    assert list(rss.read(documents.rss([]))) == []


def test_facts_of_oai() -> None:
    page = oai.page(documents.oai(PAPERS, token="a|b", responded="2024-03-20T06:00:00Z"))
    assert (page.token, page.responded, page.error) == ("a|b", "2024-03-20T06:00:00Z", None)
    assert [version.size for version in page.records[0].versions] == [f"{n}00kb" for n in range(1, len(PAPERS[0].versions) + 1)]
    assert oai.page(documents.oai([], error="noRecordsMatch")).error == "noRecordsMatch"
    names = next(oai.read(documents.oai(PAPERS, prefix="arXiv"))).authors
    assert names and (names[0].family, names[0].given) == PAPERS[0].authors[0]
    raw = documents.oai(PAPERS[:1]).replace(b"<source_type>D", b"<source_type>I")
    assert next(oai.read(raw)).withdrawn
    accents = documents.oai(PAPERS[:1]).decode()
    begin, end = accents.index("<authors>"), accents.index("</authors>")
    typed = (
        accents[:begin]
        + r"<authors>C. Bal\'azs (1), H.-J. M{\"u}ller Jr. (2 and 3) and D. E. ((1) Here, (2) There)"
        + accents[end:]
    )
    assert next(oai.read(typed.encode())).authors == (Author("C. Balázs"), Author("H.-J. Müller Jr."), Author("D. E."))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_cut_anywhere_says_so(name: str) -> None:
    data = DOCUMENTS[name]
    module = reader_of(data)
    for at in range(40, len(data) - 8, 997):
        with pytest.raises(BadInput, match=r"cut off|no element|not a whole|expected|encoding"):
            list(module.read(data[:at]))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a whole XML document"),
        (b"plain text", "not a whole XML document"),
        (b"<!DOCTYPE html><html></html>", "HTML"),
        (b"<html><body>", "HTML"),
        (b"<other/>", "expected <feed>"),
        (b'<?xml version="1.0"?><!DOCTYPE feed [<!ENTITY a "b">]><feed>&a;</feed>', "DOCTYPE"),
        (b'<!DOCTYPE feed SYSTEM "file:///etc/passwd"><feed/>', "DOCTYPE"),
        (b'<?xml version="1.0" encoding="nonsense"?><feed/>', "encoding|whole"),
        (b"<feed>" + b"<a>" * 200 + b"x", "deep|cut off"),
    ],
)
def test_what_is_no_feed_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        list(atom.read(data))


def test_an_entity_bomb_is_refused_at_once() -> None:
    bomb = "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10 if n else "boom" * 100}">' for n in range(12))
    with pytest.raises(BadInput, match="DOCTYPE"):
        list(oai.read(f'<?xml version="1.0"?><!DOCTYPE x [{bomb}]><OAI-PMH>&x11;</OAI-PMH>'.encode()))


class Endless(io.RawIOBase):
    """A stream that repeats a part for ever and counts what was read of it."""

    def __init__(self, head: bytes, part: bytes) -> None:
        self.rest, self.part, self.taken = head, part, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while len(self.rest) < size:
            self.rest += self.part * (size // len(self.part) + 1)
        told, self.rest = self.rest[:size], self.rest[size:]
        self.taken += len(told)
        return told


@pytest.mark.parametrize("part", [b"x", b"<a>", b"<b>y</b>", b"<!-- c -->"])
def test_an_endless_document_without_papers_is_given_up(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LARGEST", 1 << 19)
    source = Endless(b"<feed><title>", part)
    with pytest.raises(BadInput):
        list(atom.read(source))  # type: ignore[arg-type]
    assert source.taken < 1 << 21


def test_a_large_harvest_is_streamed() -> None:
    record = documents.oai_record(PAPERS[0], "arXivRaw").encode()
    source = Endless(b"<OAI-PMH><ListRecords>", record)
    read = oai.read(source)  # type: ignore[arg-type]
    for _ in range(500):
        next(read)
    assert source.taken < 500 * len(record) + 4 * stream.CHUNK


def test_one_bad_record_is_named_or_noted() -> None:
    data = DOCUMENTS["oai-raw"].replace(b"2403.00003", b"2403.3")
    with pytest.raises(BadInput, match="record 3"):
        list(oai.read(data))
    skipped: list[str] = []
    assert len(list(oai.read(data, skipped))) == 7 and len(skipped) == 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_mutated_documents_never_crash(name: str) -> None:
    rng = random.Random(name)
    data = DOCUMENTS[name]
    module = reader_of(data)
    for _ in range(60):
        mutated = bytearray(data)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(mutated))
            mutated[at : at + rng.randint(0, 9)] = rng.choice((b"", b"<", b">", b"\0", b"&", b"\xff", b"v0", b"]]>", b"<entry>"))
        with contextlib.suppress(DiffolioError):
            list(module.read(bytes(mutated), []))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A. One, B. Two and C. Three", ["A. One", "B. Two", "C. Three"]),
        ("A. One (MIT, USA), B. Two (1 and 2)", ["A. One", "B. Two"]),
        ("Sammy Davis, Jr., Ada III", ["Sammy Davis Jr.", "Ada III"]),
        ("Ada Anders, Sandy Andrews", ["Ada Anders", "Sandy Andrews"]),
        ("One & Two; Three", ["One", "Two", "Three"]),
        ("A (unclosed, B", ["A unclosed", "B"]),
        ("The X Collaboration: A. One", ["The X Collaboration: A. One"]),
    ],
)
def test_authors_in_one_string(text: str, names: list[str]) -> None:
    assert [author.name for author in fields.authors(text) or ()] == names


@pytest.mark.parametrize(
    ("text", "stamped"),
    [
        ("2024-03-19", "2024-03-19"),
        ("2024-03-19T17:59:58Z", "2024-03-19T17:59:58Z"),
        ("2024-03-19T00:00:00-04:00", "2024-03-19T04:00:00Z"),
        ("Mon, 2 Apr 2007 19:18:42 GMT", "2007-04-02T19:18:42Z"),
        ("Tue, 05 Mar 2024 00:00:00 -0500", "2024-03-05T05:00:00Z"),
        ("2024-02-30", None),
        ("Tue, 45 Mar 2024 00:00:00 -0500", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates(text: str, stamped: str | None) -> None:
    assert fields.stamp(text) == stamped


@pytest.mark.parametrize(
    ("comments", "withdrawn"),
    [
        ("This paper has been withdrawn by the author due to an error", True),
        ("The paper is withdrawn", True),
        ("Withdrawn by arXiv admins", True),
        ("arXiv admin note: submission withdrawn for lack of evidence", True),
        ("12 pages; a figure of v1 was withdrawn", False),
        ("Cash withdrawn from machines", False),
        (None, False),
    ],
)
def test_withdrawal(comments: str | None, withdrawn: bool) -> None:
    assert fields.is_withdrawn(comments) is withdrawn


def test_classes_are_no_categories() -> None:
    told = fields.categories(["cs.LG", "cs.CV", "68T07", "I.2.10; I.4", "hep-th", "cond-mat.mtrl-sci", "cs.LG"], "cs.CV")
    assert told == (("cs.CV", "cs.LG", "hep-th", "cond-mat.mtrl-sci"), ("68T07", "I.2.10; I.4"))


def test_no_reader_follows_a_path(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    data = f'<!DOCTYPE rss [<!ENTITY s SYSTEM "{secret.as_uri()}">]><rss><channel><item><title>&s;</title></item></channel></rss>'
    with pytest.raises(BadInput, match="DOCTYPE"):
        list(rss.read(data.encode()))
