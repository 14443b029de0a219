"""JSON Lines: our export, arXiv's snapshot, and plain objects."""

from __future__ import annotations

import contextlib
import io
import json
import random

import pytest

from diffolio.errors import BadInput, DiffolioError
from diffolio.papers import jsonl, lines
from diffolio.papers.pull import oai
from diffolio.papers.record import Author
from diffolio.papers.store import Library
from tests.papers import documents

SNAPSHOT = {
    "id": "0704.0001", "submitter": "Somebody", "authors": "C. Bal\\'azs and E. L. One", "title": "A title\n  wrapped",
    "comments": "37 pages", "journal-ref": "J. 1", "doi": "10.1/x", "report-no": "R-1", "categories": "hep-ph cs.LG",
    "license": None, "abstract": "  Text\nwrapped.\n", "update_date": "2008-11-26",
    "versions": [{"version": "v2", "created": "Tue, 24 Jul 2007 20:10:27 GMT"},
                 {"version": "v1", "created": "Mon, 2 Apr 2007 19:18:42 GMT"}],
    "authors_parsed": [["Balázs", "C.", ""], ["One", "E. L.", "Jr.", "Here", "There"]],
}  # fmt: skip


def packed(*objects: object) -> bytes:
    return "".join(json.dumps(told) + "\n" for told in objects).encode()


def test_the_snapshot() -> None:
    (record,) = jsonl.read(packed(SNAPSHOT))
    assert (record.title, record.abstract) == ("A title wrapped", "Text wrapped.")
    assert record.authors == (Author("C. Balázs", "Balázs", "C."), Author("E. L. One Jr.", "One Jr.", "E. L.", "Here; There"))
    assert (record.published, record.updated, record.version) == ("2007-04-02T19:18:42Z", "2007-07-24T20:10:27Z", 2)
    assert [version.n for version in record.versions] == [1, 2]
    assert (record.categories, record.retrieved, record.licence) == (("hep-ph", "cs.LG"), "2008-11-26", None)


def test_our_export_restores_a_library(tmp_path) -> None:
    with Library.open(tmp_path / "one.sqlite") as one, Library.open(tmp_path / "two.sqlite") as two:
        one.add_records(oai.read(documents.oai(documents.make(20))))
        out = io.StringIO()
        one.export_jsonl(out)
        two.add_records(jsonl.read(out.getvalue().encode()))
        assert two.fingerprint() == one.fingerprint()


def test_plain_objects() -> None:
    told = {"id": "https://arxiv.org/abs/2403.00001v2", "title": "T", "summary": "S", "authors": ["A B", {"name": "C", "family": "C"}],
            "categories": ["cs.CV", "68T07"], "comment": "c", "published": "2024-03-01", "other": 1}  # fmt: skip
    (record,) = jsonl.read(b"\xef\xbb\xbf" + packed(told) + b"\n\n")
    assert (record.id, record.version, record.abstract, record.comments) == ("2403.00001", 2, "S", "c")
    assert record.authors == (Author("A B"), Author("C", "C")) and record.categories == ("cs.CV",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 2 is not JSON"),
        (b"[1]", "line 2 is a list"),
        (b'{"title": "x"}', "line 2: no id among the fields title"),
        (b'{"id": "2413.00001"}', "line 2: .*month 13"),
        (b'{"id": "2403.00001", "title": 5}', "line 2: title is a int"),
        (b'{"id": "2403.00001", "authors": [1]}', "line 2"),
        (b'{"id": "2403.00001", "version": -1}', "line 2: version -1"),
        (b'{"id": "2403.00001", "version": true}', "line 2: version True"),
        (b'{"id": "0704.0001", "update_date": "x", "versions": [{}]}', "line 2"),
        (b'{"id": "2403.00001", "sources": {"title": 1}}', "line 2"),
        (b"[" * 100_000, "line 2 is not JSON"),
        (b'{"id": "\xff"}', "line 2 is not UTF-8"),
        (b'{"id": 1' + b"0" * 100_000 + b"}", "line 2: no id"),
    ],
)
def test_bad_lines_are_named(line: bytes, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        list(jsonl.read(packed({"id": "2403.00002"}) + line + b"\n"))


def test_bad_lines_can_be_skipped() -> None:
    skipped: list[str] = []
    records = list(jsonl.read(packed({"id": "2403.00002"}, {"id": "x"}, {"id": "2403.00003"}), skipped))
    assert [record.id for record in records] == ["2403.00002", "2403.00003"] and skipped[0].startswith("line 2")


def test_a_line_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 1000)
    with pytest.raises(BadInput, match="line 1 is longer"):
        list(jsonl.read(b"{" + b" " * 5000))


@pytest.mark.parametrize(("head", "known"), [(b' \n{"id"', True), (b"\xef\xbb\xbf{", True), (b"[{", False), (b"", False)])
def test_sniff(head: bytes, known: bool) -> None:
    assert jsonl.sniff(head) is known


def test_mutated_files_never_crash() -> None:
    rng = random.Random(0)
    data = packed(SNAPSHOT, {"id": "2403.00001", "authors": ["A"], "sources": {}})
    for _ in range(500):
        mutated = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(mutated))
            mutated[at : at + rng.randint(0, 4)] = rng.choice(
                (b"", b"{", b"null", b'"', b"[]", b"\0", b"1e999", b"\\ud800", b"NaN")
            )
        with contextlib.suppress(DiffolioError):
            list(jsonl.read(bytes(mutated)))
