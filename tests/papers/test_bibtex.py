"""BibTeX files as people have them."""

from __future__ import annotations

import contextlib
import io
import random

import pytest

from diffolio.errors import BadInput, DiffolioError
from diffolio.papers import bibtex
from diffolio.papers.record import Author

FILE = rb"""
% kept by hand; somebody@example.org wrote this
@string{venue = "Proc. of " # "a Conference"}
@comment{jabref-meta: databaseType:bibtex;}
@article{one,
  title = {A {GAN} of $x^{2}$ and 35\% {\"U}berfluss},
  author = {Smith, Jane and {The X Collaboration} and Ludwig van Beethoven and Doe, Jr, John and others},
  journal = {arXiv preprint arXiv:2403.12963},
  year = 2024, month = mar,
  abstract = {First line
     second line.}
}
@inproceedings{two, title = "Quoted {T}itle", eprint = {2403.00001v2}, archivePrefix = {arXiv}, primaryClass = {cs.CV},
  booktitle = venue, pages = {1--9}, year = {2024}, doi = {10.1000/xyz}}
@misc(three, eprint = {9901001}, archiveprefix = "arXiv", primaryclass = "hep-th", title = {Old})
@misc{four, doi = {10.48550/arXiv.2401.00002}, title = {By DOI}}@misc{five, url = {https://arxiv.org/pdf/2401.00003v4.pdf}}
@book{no, title = {Not on arXiv}}
@misc{wrong, eprint = {2413.00001}, archivePrefix = {arXiv}}
@misc{open, title = {never closed
@misc{six, note = {arXiv:2401.00004}, author = {Ada}}
"""


def test_entries_are_read_and_others_named() -> None:
    skipped: list[str] = []
    records = list(bibtex.read(FILE, skipped))
    assert [record.id for record in records] == [
        "2403.12963", "2403.00001", "hep-th/9901001", "2401.00002", "2401.00003", "2401.00004",
    ]  # fmt: skip
    one, two, *_ = records
    assert one.title == "A GAN of $x^{2}$ and 35% Überfluss" and one.abstract == "First line second line."
    assert one.authors == (
        Author("Jane Smith", "Smith", "Jane"),
        Author("The X Collaboration"),
        Author("Ludwig van Beethoven", "van Beethoven", "Ludwig"),
        Author("John Doe Jr", "Doe Jr", "John"),
    )
    assert one.authors_cut and one.journal_ref is None and one.published is None
    assert (two.version, two.categories, two.doi) == (2, ("cs.CV",), "10.1000/xyz")
    assert two.journal_ref == "Proc. of a Conference, 1-9 (2024)"
    assert records[3].doi is None and records[4].version == 4
    assert len(skipped) == 3
    assert "book no names no arXiv id" in skipped[0] and "month 13" in skipped[1] and "not closed before line" in skipped[2]
    assert list(bibtex.read(io.BytesIO(FILE))) == records


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (FILE, True),
        (b"@misc{a,", True),
        (b"\xef\xbb\xbf@article{a,\n", True),
        (b"# A digest\nmail@x.org", False),
        (b'{"id": 1}', False),
        (b"", False),
    ],
)
def test_sniff(head: bytes, known: bool) -> None:
    assert bibtex.sniff(head) is known


def test_other_encodings_are_refused_with_the_line() -> None:
    with pytest.raises(BadInput, match="line 2 is not UTF-8"):
        list(bibtex.read("@misc{a,\ntitle={é}}".encode("latin-1")))


def test_an_entry_without_end_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bibtex, "LARGEST", 10_000)
    with pytest.raises(BadInput, match="larger than"):
        list(bibtex.read(b"@misc{a, title = {" + b"word word\n" * 5000))


def test_mutated_files_never_crash() -> None:
    rng = random.Random(0)
    for _ in range(300):
        mutated = bytearray(FILE)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(mutated))
            mutated[at : at + rng.randint(0, 5)] = rng.choice(
                (b"", b"{", b"}", b'"', b"@", b"#", b"=", b",", b"\\", b"\n@x{", b"$")
            )
        with contextlib.suppress(DiffolioError):
            list(bibtex.read(bytes(mutated), []))
