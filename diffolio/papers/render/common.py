"""What every output needs: safe links, words for what happened, the header's sentences."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import urlsplit

from diffolio.papers.changes import ADDED, REMOVED
from diffolio.papers.digest import Digest, DigestEntry
from diffolio.papers.record import Link

KIND_NAMES = {"new": "New", "cross": "Cross-listed", "updated": "Updated", "again": "Listed again"}
LINK_NAMES = {"code": "Code", "project": "Project", "demo": "Demo", "data": "Data", "doi": "DOI", "other": "Link"}
CLAIMS = {"holds": "claim holds", "fails": "claim fails", "stale": "evidence is stale", None: "no evidence yet"}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
FAMILIES = {"scene3d": "3D scenes"}
# XML 1.0 cannot carry these, not even escaped; bidirectional overrides would let a title rearrange the text around it.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e]")


def clean(text: str | None) -> str:
    """``text`` on one line without characters that no document may hold."""
    return " ".join(_FORBIDDEN.sub("", text or "").split())


def readable(text: str | None) -> str:
    """The same with TeX's accents and macros as the characters they stand for."""
    from diffolio.papers.text import display

    return clean(display(text)) if text and ("\\" in text or "$" in text or "{" in text) else clean(text)


def kept(text: str) -> str:
    """The same, white space kept: for a part of a longer text."""
    return _FORBIDDEN.sub("", text).replace("\n", " ")


def safe_url(url: str) -> str | None:
    """``url`` if it is a plain web address, else None: no script, no data, no file, nothing that ends an attribute."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        fine = parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return None
    return url if fine and not re.search(r"[\s\x00-\x20\x7f<>\"'`\\{}|^]|[\ud800-\udfff]", url) else None


def links(entry: DigestEntry) -> list[tuple[str, str]]:
    """Name and address of every link of a paper that can be followed, arXiv's own first, none twice."""
    told = [("arXiv", entry.url), ("PDF", f"https://arxiv.org/pdf/{entry.versioned}")]
    told += [(LINK_NAMES.get(link.kind, "Link"), link.url) for link in sorted(entry.links, key=_usefulness)]
    if entry.paper.doi:
        told.append(("DOI", f"https://doi.org/{entry.paper.doi}"))
    seen: dict[str, str] = {}
    for name, url in told:
        if (safe := safe_url(url)) and safe.rstrip("/") not in seen:
            seen[safe.rstrip("/")] = name
    return [(name, url) for url, name in seen.items()]


def _usefulness(link: Link) -> int:
    names = list(LINK_NAMES)
    return names.index(link.kind) if link.kind in names else len(names)


def news(entry: DigestEntry) -> str:
    """What happened, in words: ``Updated v1 to v3``, ``New, cross-listed``."""
    told = KIND_NAMES[entry.kind]
    if entry.kind == "updated" and entry.version:
        told += f" v{entry.since} to v{entry.version}" if entry.since else f" to v{entry.version}"
    elif entry.kind == "updated":
        told += ", version not known"
    return told + (", cross-listed" if entry.crossed else "")


def unknown_change(entry: DigestEntry) -> bool:
    """Whether a version changed of which the library does not know both texts."""
    from diffolio.papers.changes import text_of

    known = [text_of(entry.paper, name, n) for name in ("title", "abstract") for n in (entry.since, entry.version)]
    return entry.kind == "updated" and not entry.changes and None in known


def names(entry: DigestEntry) -> str:
    """The authors on one line, with "et al." where the source cut the list."""
    told = ", ".join(clean(author.name) for author in entry.authors)
    return f"{told}, et al." if told and entry.paper.authors_cut else told


def evidence(entry: DigestEntry) -> str:
    """``claim holds 0.41 -> 0.29 (n=32)``; '' for a paper that does not run here."""
    if not entry.runnable:
        return ""
    return clean(f"{CLAIMS.get(entry.runnable.claim, '')} {entry.runnable.figure or ''}".replace("->", "→"))


def family_name(name: str) -> str:
    return FAMILIES.get(name, name[:1].upper() + name[1:] if name.isalpha() else name)


def heading(name: str, group: str) -> str:
    """A group's name as printed: ``Tuesday, 19 March 2024``, ``March 2024``, a family, a category."""
    if group == "family":
        return family_name(name)
    day = moment(name)
    told = f"{_MONTHS[day.month - 1]} {day.year}"
    return told if len(name) == 7 else f"{_DAYS[day.weekday()]}, {day.day} {told}"


def window(digest: Digest) -> str:
    return digest.last if digest.first == digest.last else f"{digest.first} to {digest.last}"


def subject(digest: Digest) -> str:
    """The topic, or as much of a long query as fits a heading."""
    told = clean(digest.topic)
    told = told if len(told) <= 80 else told[:79] + "…"
    return told[:1].upper() + told[1:]


def title(digest: Digest) -> str:
    return f"{subject(digest)} · {window(digest)}"


def counted(digest: Digest) -> str:
    """``12 papers: 9 new, 3 updated; 2 run here``; an empty window says so."""
    counts = digest.counts
    if not counts["papers"]:
        since = f" since the issue of {digest.previous}" if digest.previous else ""
        return f"Nothing to report{since}: no paper of this topic appeared, changed or was listed in the window."
    words = {"new": "new", "cross": "cross-listed", "updated": "updated", "again": "listed again"}
    kinds = ", ".join(f"{counts[kind]} {word}" for kind, word in words.items() if counts[kind])
    runs = f"; {counts['runs']} {'run' if counts['runs'] != 1 else 'runs'} here" if counts["runs"] else ""
    return f"{counts['papers']} {'papers' if counts['papers'] != 1 else 'paper'}: {kinds}{runs}"


def facts(digest: Digest) -> list[tuple[str, str]]:
    """The header: query, window, source, library, in this order."""
    told = [
        ("Query", clean(digest.query) or "everything"),
        ("Window", f"{digest.first} to {digest.last}" + (f", since the issue of {digest.previous}" if digest.previous else "")),
        ("Source", ", ".join(f"{name} ({n})" for name, n in digest.source) or "none"),
        ("Library", f"{digest.size:,} papers, fingerprint {digest.fingerprint}"),
        ("Made", digest.now),
    ]
    if digest.strict:
        told.append(("Strict", "statements of summaries that are not in the record are left out"))
    return told


def moment(stamp: str) -> datetime:
    """An ISO day, month or time as a moment in UTC."""
    text = f"{stamp}-01" if len(stamp) == 7 else stamp
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def marked(parts: tuple[tuple[str, str], ...], removed: tuple[str, str], added: tuple[str, str], escape, context: int = 0) -> str:  # type: ignore[no-untyped-def]
    """A diff as text: every part escaped, changes between marks; unchanged runs longer than 2 x ``context`` words shortened."""
    told = []
    for place, (kind, text) in enumerate(parts):
        if kind in (REMOVED, ADDED):
            before, after = removed if kind == REMOVED else added
            core = text.strip()
            lead, tail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
            told.append(f"{lead}{before}{escape(core)}{after}{tail}" if core else text)
            continue
        words = text.split(" ")
        if context and len(words) > 2 * context + 2:
            head = "" if place == 0 else " ".join(words[:context]) + " "
            tail = "" if place == len(parts) - 1 else " " + " ".join(words[-context:])
            text = f"{head}…{tail}"
        told.append(escape(text))
    return "".join(told)
