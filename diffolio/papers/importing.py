"""Files into the library: the three digest formats, Atom, RSS, OAI-PMH, BibTeX and JSON Lines, told apart by content.

    report = import_files(library, [Path("digests/"), Path("refs.bib")])

All files of one call are one transaction: they are all in the library afterwards, or none is. Records are streamed; digests
are read whole, so their size is bounded.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from diffolio.errors import BadInput
from diffolio.papers import formats
from diffolio.papers.decoding import NoText, decode
from diffolio.papers.record import Issue, Record, Repair

if TYPE_CHECKING:
    from diffolio.papers.store import Counts, Library

HEAD = 1 << 16  # bytes that tell what a file is
LARGEST = 32 << 20  # bytes of a digest
DIGESTS = ("topic-list", "overview", "blog")
_MAGIC = {b"%PDF": "a PDF", b"PK\x03\x04": "a ZIP archive", b"\x1f\x8b": "compressed by gzip", b"SQLite format 3": "a database",
          b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"BZh": "compressed by bzip2", b"\xfd7zXZ": "compressed by xz",
          b"\x28\xb5\x2f\xfd": "compressed by zstd"}  # fmt: skip


@dataclass(frozen=True)
class FileReport:
    """What one file brought: ``kind`` is the format, ``repairs`` go with the paper's id (None: the header)."""

    path: str
    kind: str
    entries: int
    new: int
    changed: int
    same: int
    series: str | None = None
    first: str | None = None
    last: str | None = None
    repairs: tuple[tuple[str | None, Repair], ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportReport:
    """What an import brought; ``skipped`` files of folders with the reason, ``works`` the papers found under several ids."""

    files: tuple[FileReport, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    works: tuple[str, ...] = ()

    @property
    def entries(self) -> int:
        return sum(file.entries for file in self.files)

    @property
    def new(self) -> int:
        return sum(file.new for file in self.files)

    @property
    def changed(self) -> int:
        return sum(file.changed for file in self.files)

    @property
    def repairs(self) -> int:
        return sum(len(file.repairs) for file in self.files)

    @property
    def warnings(self) -> int:
        return sum(len(file.warnings) for file in self.files)


def read_issue(source: bytes | str | os.PathLike[str], *, path: str = "", repair: bool = True) -> Issue:
    """The digest in the bytes of a file, in a text, or at a path. Raises BadInput when it is none of the known formats."""
    if isinstance(source, os.PathLike):
        with open(source, "rb") as stream:
            return read_issue(_bounded(stream), path=os.fspath(source), repair=repair)
    told = decode(source.encode() if isinstance(source, str) else source)
    text: str = told.text
    lines: dict[int, Repair] = {}
    repair = repair and not formats.is_clean(text)
    if repair:
        from diffolio.papers.mending import mend, mend_charset

        text, lines = mend_charset(told.text)
    issue = formats.read(text, path=path)
    # What the text alone does not tell, for original_bytes.
    raw = {"encoding": told.encoding, "bom": told.bom.hex(), "newline": told.newline}
    issue = replace(issue, raw=issue.raw | raw, warnings=told.warnings + issue.warnings)
    return mend(issue, lines) if repair else issue


def original_bytes(issue: Issue) -> bytes:
    """The bytes of the file that ``issue`` was read from: faithful text with its charset damage, line ends and encoding.

    Not exact where the file mixed line ends or had bytes that are no text; the library keeps every file as it was.
    """
    from diffolio.papers.mending import unmend_charset

    text = unmend_charset(issue, formats.write(issue)).replace("\n", issue.raw["newline"])
    return bytes.fromhex(issue.raw["bom"]) + text.encode(issue.raw["encoding"])


def kind_of(head: bytes) -> str:
    """The format of a file that begins with ``head``: oai, rss, atom, jsonl, bibtex or digest.

    Raises UnknownFormat on what is clearly something else.
    """
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            raise formats.UnknownFormat(f"this is {name}: a digest, XML, BibTeX or JSON Lines is needed")
    for kind, sniff in _sniffers():
        if sniff(head):
            return kind
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        from diffolio.papers.pull.stream import root_of

        root = root_of(head)
        what = f"XML with the root <{root[0]}>" if root and root[0].lower() != "html" else "a page of HTML"
        raise formats.UnknownFormat(f"this is {what}: OAI-PMH, RSS or Atom of arXiv is needed")
    return "digest"


def _sniffers() -> Iterator[tuple[str, Callable[[bytes], bool]]]:
    from diffolio.papers import bibtex, jsonl
    from diffolio.papers.pull import atom, oai, rss

    yield from (("oai", oai.sniff), ("rss", rss.sniff), ("atom", atom.sniff), ("jsonl", jsonl.sniff), ("bibtex", bibtex.sniff))


def records_of(kind: str, stream: BinaryIO, skipped: list[str]) -> Iterator[Record]:
    """The records of a stream of this kind, one at a time; ``skipped`` gets what could not be read but did not stop it."""
    from diffolio.papers import bibtex, jsonl
    from diffolio.papers.pull import atom, oai, rss

    if kind == "bibtex":
        return bibtex.read(stream, skipped)
    return {"oai": oai.read, "rss": rss.read, "atom": atom.read, "jsonl": jsonl.read}[kind](stream)


def import_files(
    library: Library, paths: Iterable[str | os.PathLike[str]], *, progress: Callable[[str], None] | None = None
) -> ImportReport:
    """Read files and folders into the library, in one transaction.

    A folder gives all its files, also those below it; what is no known format is skipped there and reported, while a file
    named by itself must be readable. ``progress`` hears each path. Raises BadInput with the file and line that stopped it.
    """
    reports: list[FileReport] = []
    skipped: list[tuple[str, str]] = []
    ids: set[str] = set()
    with library.transaction():
        for path, named in _files(paths):
            if progress:
                progress(str(path))
            try:
                reports.append(_import(library, path, ids))
            except (formats.UnknownFormat, NoText) as error:
                if named:
                    raise BadInput(f"{path}: {error}") from error
                skipped.append((str(path), str(error)))
            except BadInput as error:
                raise BadInput(f"{path}: {error}") from error
            except OSError as error:
                raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
        works = _works(library, ids)
    if not reports and not skipped:
        raise BadInput("no files to import: name digests, Atom, RSS, OAI-PMH, BibTeX or JSON Lines, or a folder with such")
    return ImportReport(tuple(reports), tuple(skipped), works)


def _works(library: Library, ids: set[str]) -> tuple[str, ...]:
    """The works that touch ``ids``, found and stored; beside a large library only what is near them is read."""
    from diffolio.papers.works import FEW, find_works

    among = sorted(ids)
    few = len(among) * 20 < len(library)
    parts = [among[at : at + FEW] for at in range(0, len(among), FEW)] if few else [among]
    found = {work.papers: work for part in parts if part for work in find_works(library, part)}
    return tuple(f"{' = '.join(work.papers)} ({work.status}, {work.confidence:.2f}): {work.reason}" for work in found.values())


def _files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, bool]]:
    """Every file with whether it was named by itself; those of a folder by name, hidden ones left out."""
    for given in map(Path, paths):
        if not given.exists():
            raise BadInput(f"there is no file or folder {given}")
        if not given.is_dir():
            yield given, True
            continue
        for folder, below, names in os.walk(given):
            below[:] = sorted(name for name in below if not name.startswith("."))
            yield from ((Path(folder, name), False) for name in sorted(names) if not name.startswith("."))


def _import(library: Library, path: Path, ids: set[str]) -> FileReport:
    """Read one file into the library; ``ids`` gets the papers that it tells of."""
    # Opening a pipe would wait for somebody to write into it.
    if not stat.S_ISREG(path.stat().st_mode):
        raise formats.UnknownFormat("this is no regular file")
    with path.open("rb") as stream:
        head = stream.read(HEAD)
        kind = kind_of(head)
        stream.seek(0)
        if kind != "digest":
            return _import_records(library, path, kind, stream, ids)
        data = _bounded(stream)
    return _import_digest(library, path, data, ids)


def _bounded(stream: BinaryIO) -> bytes:
    """A whole digest. Raises BadInput when it is larger than one can be."""
    data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        size = max(os.fstat(stream.fileno()).st_size, len(data)) / (1 << 20)
        raise BadInput(f"the file has {size:,.0f} MB; a digest has at most {LARGEST >> 20}, and this is no other known format")
    return data


def _import_records(library: Library, path: Path, kind: str, stream: BinaryIO, ids: set[str]) -> FileReport:
    skipped: list[str] = []

    def noted() -> Iterator[Record]:
        for record in records_of(kind, stream, skipped):
            ids.add(record.id)
            yield record

    counts: Counts = library.add_records(noted())
    return FileReport(str(path), kind, sum(counts), *counts, warnings=tuple(skipped[:200]))


def _import_digest(library: Library, path: Path, data: bytes, ids: set[str]) -> FileReport:
    issue = read_issue(data, path=str(path))
    counts = library.add_issue(issue, sha256=hashlib.sha256(data).hexdigest(), raw=data)
    ids.update(entry.id for entry in issue.entries)
    repairs = [(None, repair) for repair in issue.repairs]
    listed = [(entry.id, repair) for entry in issue.entries for repair in entry.repairs]
    return FileReport(
        str(path),
        issue.format,
        len(issue.entries),
        *counts,
        issue.series,
        issue.first,
        issue.last,
        (*repairs, *listed),
        issue.warnings,
    )
