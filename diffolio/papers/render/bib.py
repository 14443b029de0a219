"""An issue for reference managers and programs: BibTeX, CSL-JSON and JSON lines."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from diffolio.papers import export
from diffolio.papers.digest import Digest, DigestEntry
from diffolio.papers.record import Author
from diffolio.papers.render import common

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
_PARTICLES = {
    "van",
    "von",
    "de",
    "der",
    "den",
    "del",
    "della",
    "di",
    "da",
    "dos",
    "du",
    "la",
    "le",
    "el",
    "al",
    "bin",
    "ibn",
    "ten",
}
_MATH = re.compile(r"(\$[^$]+\$)")
_SMALL = {
    "a",
    "an",
    "the",
    "on",
    "in",
    "of",
    "for",
    "to",
    "and",
    "with",
    "is",
    "are",
    "from",
    "by",
    "at",
    "via",
    "towards",
    "toward",
}


def bibtex(digest: Digest) -> str:
    """One ``@misc`` per paper with its eprint fields; keys are unique in the file."""
    keys = unique(digest.entries)
    return "\n".join(_bibtex(entry, key) for entry, key in zip(digest.entries, keys, strict=True))


def _bibtex(entry: DigestEntry, key: str) -> str:
    day, paper = entry.submitted, entry.paper
    told = {
        "title": f"{{{_tex(entry.title)}}}",
        "author": " and ".join(_bibtex_name(author) for author in entry.authors) + (" and others" if paper.authors_cut else ""),
        "year": day[:4],
        "month": str(int(day[5:7])),
        "eprint": entry.versioned,
        "archiveprefix": "arXiv",
        "primaryclass": _tex(entry.categories[0]) if entry.categories else "",
        "doi": _verbatim(paper.doi),
        "journal": _tex(paper.journal_ref),
        "url": entry.url,
        "note": _tex(paper.comments),
        "annote": _tex(entry.runnable.line) if entry.runnable else "",
        "abstract": _tex(entry.abstract),
    }
    return f"@misc{{{key},\n" + "".join(f"  {name} = {{{text}}},\n" for name, text in told.items() if text) + "}\n"


def _tex(text: str | None) -> str:
    """``text`` for LaTeX: formulas between dollars stay, everything else prints as it is, braces are balanced."""
    parts = _MATH.split(common.clean(text))
    return "".join(part if place % 2 and _balanced(part) else _plain(part) for place, part in enumerate(parts))


def _plain(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


def _verbatim(text: str | None) -> str:
    return "".join(_SPECIAL[c] if c in "\\{}%" else c for c in common.clean(text))


def _balanced(formula: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", formula):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0 and not formula.endswith("\\$")


def _bibtex_name(author: Author) -> str:
    family, given = name_parts(author)
    if given is None:
        return f"{{{_tex(family)}}}"  # braces: a name that is not to be taken apart
    return f"{_tex(family)}, {_tex(given)}"


def name_parts(author: Author) -> tuple[str, str | None]:
    """Family and given name as the source split them, else the last word with its particles; None: one word, or a group."""
    if author.family:
        return author.family, author.given
    words = common.clean(author.name).split()
    if len(words) < 2 or re.search(
        r"\b(team|group|collaboration|consortium|lab|labs|university)\b|:", author.name, re.IGNORECASE
    ):
        return " ".join(words), None
    start = len(words) - 1
    while start > 1 and words[start - 1].lower() in _PARTICLES:
        start -= 1
    return " ".join(words[start:]), " ".join(words[:start])


def unique(entries: Iterable[DigestEntry]) -> list[str]:
    """``huang2024fouriscale`` for every entry; a second paper of that key gets its arXiv number behind it."""
    keys: dict[str, None] = {}
    for entry in entries:
        family = name_parts(entry.authors[0])[0] if entry.authors else "arxiv"
        words = [word for word in map(_ascii, entry.title.split()) if word and word not in _SMALL]
        key = f"{_ascii(family) or 'arxiv'}{entry.submitted[:4]}{words[0] if words else ''}"
        keys[key if key not in keys else f"{key}{_ascii(entry.id)}"] = None
    return list(keys)


def _ascii(text: str) -> str:
    flat = unicodedata.normalize("NFKD", text.split("-")[0] if len(text.split("-")[0]) > 2 else text)
    return re.sub(r"[^a-z0-9]", "", flat.encode("ascii", "ignore").decode().lower())


def csl(digest: Digest) -> str:
    """CSL-JSON, as citation processors and Zotero read it."""
    keys = unique(digest.entries)
    items = [_csl(entry, key) for entry, key in zip(digest.entries, keys, strict=True)]
    return json.dumps(items, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _csl(entry: DigestEntry, key: str) -> dict[str, Any]:
    paper = entry.paper
    told = {
        "id": key,
        "type": "article",
        "title": common.readable(entry.title),
        "author": [_csl_name(author) for author in entry.authors] + ([{"literal": "others"}] if paper.authors_cut else []),
        "issued": {"date-parts": [[int(part) for part in entry.submitted.split("-")]]},
        "publisher": "arXiv",
        "number": f"arXiv:{entry.versioned}",
        "version": str(entry.version) if entry.version else None,
        "DOI": common.clean(paper.doi),
        "URL": entry.url,
        "abstract": common.readable(entry.abstract),
        "note": common.clean(paper.comments),
        "annote": entry.runnable.line if entry.runnable else "",
        "keyword": ", ".join(entry.categories),
    }
    return {name: value for name, value in told.items() if value}


def _csl_name(author: Author) -> dict[str, str]:
    family, given = name_parts(author)
    return {"literal": common.clean(family)} if given is None else {"family": common.clean(family), "given": common.clean(given)}


def jsonl(digest: Digest) -> str:
    """One JSON object a line and paper: its canonical record, and under ``digest`` what this issue says of it."""
    return "".join(_line(entry) + "\n" for entry in digest.entries)


def _line(entry: DigestEntry) -> str:
    told: dict[str, Any] = {
        "kind": entry.kind, "day": entry.day, "version": entry.version, "since": entry.since, "crossed": entry.crossed or None,
        "family": entry.family, "also": list(entry.also) or None,
        "changes": [asdict(change) for change in entry.changes] or None,
        "runs": asdict(entry.runnable) if entry.runnable else None,
        "summary": asdict(entry.summary) if entry.summary else None,
    }  # fmt: skip
    record = json.loads(export.line(entry.paper))
    record["digest"] = {name: value for name, value in told.items() if value is not None}
    text = json.dumps(record, ensure_ascii=False, sort_keys=True).encode("utf-8", "replace").decode()
    return (
        text.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029").replace("\x85", r"\u0085")
    )  # some readers end a line here
