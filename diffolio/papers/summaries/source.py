"""What a summary may say: the record's own text, and the text of the paper where the user has it on disk."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from diffolio.errors import BadInput
from diffolio.papers.summaries import scan
from diffolio.papers.summaries.quantities import Quantity, marks, quantities

MAX_PAPER_PAGES = 200
_URL = re.compile(r"(?:https?://|www\.)[!-~]+|\b(?:github\.com|gitlab\.com|huggingface\.co)/[\w./-]+", re.IGNORECASE)
_CODE_HOSTS = ("github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "gitee.com", "sourceforge.net")


@dataclass(frozen=True)
class Source:
    """Tier 1: the record. ``paper`` is tier 2: what only it says is reported as "in the paper, not in the record".

    Strings are None where the record does not say; ``authors`` as printed; ``affiliations`` those of the authors.
    """

    id: str
    version: int | None = None
    title: str | None = None
    abstract: str | None = None
    authors: tuple[str, ...] | None = None
    authors_cut: bool = False
    affiliations: tuple[str, ...] = ()
    comments: str | None = None
    journal_ref: str | None = None
    doi: str | None = None
    categories: tuple[str, ...] | None = None
    links: tuple[tuple[str, str], ...] = ()  # (url, kind) beyond those in the text
    paper: str | None = None

    @classmethod
    def of(cls, record: Any, paper: str | None = None) -> Source:
        """From anything with a record's fields: a Record, an Entry, a Paper of the library, another Source."""
        if isinstance(record, Source):
            return record
        authors = getattr(record, "authors", None)
        return cls(
            id=record.id,
            version=getattr(record, "version", None),
            title=record.title,
            abstract=getattr(record, "abstract", None),
            authors=None if authors is None else tuple(getattr(author, "name", author) for author in authors),
            authors_cut=bool(getattr(record, "authors_cut", False)),
            affiliations=tuple(filter(None, (getattr(author, "affiliation", None) for author in authors or ()))),
            comments=getattr(record, "comments", None),
            journal_ref=getattr(record, "journal_ref", None),
            doi=getattr(record, "doi", None),
            categories=getattr(record, "categories", None),
            links=tuple((link.url, link.kind) for link in getattr(record, "links", None) or () if hasattr(link, "url")),
            paper=paper,
        )

    @cached_property
    def prose(self) -> str:
        """Title and abstract as read."""
        return "\n".join(scan.folded(scan.clean(text).text) for text in (self.title, self.abstract) if text)

    @cached_property
    def text(self) -> str:
        """Everything the record says, as read."""
        rest = (self.comments, self.journal_ref, self.doi, *(self.authors or ()), *self.affiliations, *(self.categories or ()))
        return "\n".join(
            [self.prose, *(scan.folded(scan.clean(text).text) for text in rest if text), *(url for url, _ in self.links)]
        )

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        return tuple(self.prose[a:b] for a, b in scan.sentences(self.prose))

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        return tuple(quantities(self.text))

    @cached_property
    def paper_quantities(self) -> tuple[Quantity, ...]:
        return tuple(quantities(scan.clean(self.paper).text)) if self.paper else ()

    @cached_property
    def counts(self) -> frozenset[float]:
        """Every plain value and list mark, against which number words are held."""
        return frozenset(marks(self.text)) | {value for q in self.quantities for value in q.values}

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(re.findall(r"[^\W_]+", self.text.lower()))

    @cached_property
    def urls(self) -> dict[str, tuple[str, str]]:
        """Normalised address -> (address as printed, kind)."""
        found = {normal_url(url): (url, kind) for url, kind in self.links}
        for url in urls_in(self.text):
            found.setdefault(normal_url(url), (url, kind_of_url(url, self.text)))
        return found

    def urls_of(self, *kinds: str) -> list[str]:
        return [url for url, kind in self.urls.values() if kind in kinds]


def urls_in(text: str) -> list[str]:
    """The addresses in a text, without the punctuation and the CJK words that run on behind them."""
    return [_unglued(match[0]) for match in _URL.finditer(text)]


def url_spans(text: str) -> list[tuple[int, int]]:
    return [(match.start(), match.start() + len(_unglued(match[0]))) for match in _URL.finditer(text)]


def _unglued(url: str) -> str:
    url = re.split(r"[<>\"'`|\\^{}]|\]\(|\)\[", url)[0]
    while url and url[-1] in ".,;:!?)]*_'\"":
        if url[-1] == ")" and url.count("(") >= url.count(")"):
            break
        url = url[:-1]
    return url


def normal_url(url: str) -> str:
    """Equal for spellings of one address: no scheme, ``www.``, ``.git``, trailing slash; host (and GitHub paths) lower case."""
    bare = re.sub(r"^(?:https?://)?(?:www\.)?", "", _unglued(url.strip()), flags=re.IGNORECASE).split("#")[0]
    bare = re.sub(r"(?:\.git)?/*$", "", bare)
    host, slash, path = bare.partition("/")
    host = host.lower()
    return host + slash + (path.lower() if host in _CODE_HOSTS else path)


def kind_of_url(url: str, text: str = "") -> str:
    """code, project, arxiv, doi, or other. A page of the paper's own is a project: github.io, or so called just before it."""
    host = normal_url(url).split("/")[0]
    if host in _CODE_HOSTS:
        return "code"
    if host.endswith("arxiv.org"):
        return "arxiv"
    if host.endswith("doi.org"):
        return "doi"
    before = text[max(0, text.find(url) - 60) : max(0, text.find(url))].lower()
    if host.endswith((".github.io", ".gitlab.io")) or "project" in before or "website" in before or "webpage" in before:
        return "project"
    return "code" if re.search(r"\bcodes?\b", before) else "other"


def paper_text(path: str | Path) -> str:
    """The text of a paper on disk, for tier 2: a PDF (through pypdf), or a text file."""
    path = Path(path)
    if path.suffix.lower() != ".pdf":
        return path.read_text(encoding="utf-8", errors="replace")
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise BadInput(f"{path} is a PDF; reading it needs pypdf: pip install 'diffolio[pdf]'") from error
    try:
        return "\n".join(page.extract_text() or "" for page in _first_pages(PdfReader(path).pages))
    except (PyPdfError, OSError, ValueError, KeyError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read as a PDF ({error}); give a text file of the paper instead") from error


def _first_pages(pages: Any) -> Iterable[Any]:
    return (pages[i] for i in range(min(len(pages), MAX_PAPER_PAGES)))
