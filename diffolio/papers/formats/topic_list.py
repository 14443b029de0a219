"""Topic lists: one dated file per topic, entries with badges, first authors and the abstract in a ``<details>``.

    # 🔍 {Topic} Papers · {YYYY-MM-DD}
    [![Total Papers](…badge/Papers-{N}-2688EB)]()          N is checked against the entries
    **Keywords**: `{k}` `{k}` …␠␠
    **Filter**: `None`
    - **[{title}]({link})**␠␠`arXiv:{id}`␠␠`{category}` …␠␠
      _{the first six authors, et al.}_
      <details open><summary>Abstract</summary>
      {abstract}
      </details>

Nothing is escaped in them, so a title ends at the last ``](`` before its badge. Entries without categories and with a closed
``<details>`` are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from urllib.parse import quote

from diffolio.errors import BadInput
from diffolio.papers.formats import grammar
from diffolio.papers.formats.escaping import escape, escape_html, flat
from diffolio.papers.formats.grammar import Reading
from diffolio.papers.identifiers import PaperId
from diffolio.papers.record import Entry, Issue

NAME = "topic-list"
_HEADING = re.compile(r"^# (?:[^\w\s#]\S* )?(?P<topic>[^\n]*?) ?Papers \S{1,3} (?P<day>\d{4}-\d{2}-\d{2})[ \t]*$", re.MULTILINE)
_START = "- **["
_COUNT = re.compile(r"badge/Papers-(\d{1,9})-")
_SERIES = re.compile(r"api\.github\.com/repos/[^/\s]+/([^/\s]+)/")
_WORDS = re.compile(r"^\*\*(Keywords|Filter)\*\*:([^\n]*)$", re.MULTILINE)
_OPEN = re.compile(r"  <details(?: open)?><summary>[^<\n]*</summary>")
_CLOSE = "  </details>"
_CODE = re.compile(r"`([^`]+)`")
HEAD = 16_384  # characters in which the heading or the first entry must stand


def why_not(text: str) -> tuple[int, str] | None:
    """The line that shows that this is no topic list and what is missing there; None when it is one."""
    head = text[:HEAD]
    if _HEADING.search(head) or any("`arXiv:" in head[at : at + 2000] for at in grammar.line_starts(head, _START)):
        return None
    return grammar.first_line(text), "expected '# ... Papers · YYYY-MM-DD'"


def sniff(text: str) -> bool:
    return why_not(text) is None


def read(text: str, *, path: str = "") -> Issue:
    """The issue in ``text``; entries that cannot be read are skipped with a warning.

    Raises BadInput when it is no topic list or its date does not exist.
    """
    reading = Reading(text)
    starts = grammar.line_starts(text, _START)
    head = text[: starts[0]] if starts else text
    reading.mark = grammar.find_mark(head)
    heading = _HEADING.search(head)
    last = heading["day"] if heading else grammar.day_in(PurePath(path).name) or grammar.day_in(head)
    if last is None:
        raise BadInput(f"no date in the heading (line {grammar.first_line(text)}) or the file's name: an issue needs its date")
    last = grammar.dated(last, f"line {head.count(chr(10), 0, heading.start()) + 1}" if heading else "heading")
    if not starts and heading is None:
        raise BadInput(f"line {grammar.first_line(text)}: expected '# ... Papers · YYYY-MM-DD' or entries like '- **['")
    entries = grammar.collect(reading, starts, layout, lambda line, piece: _entry(reading, line, piece, last))
    raw = {"head": reading.head} | {name.lower(): told.strip() for name, told in _WORDS.findall(head)}
    if count := _COUNT.search(head):
        raw["count"] = count[1]
        if int(count[1]) != len(entries):
            line = head.count("\n", 0, count.start()) + 1
            reading.warn(line, f"the badge says {int(count[1])} papers, the file has {len(entries)}")
    topic = " ".join(heading["topic"].split()) if heading else None
    series = _SERIES.search(head)
    return grammar.issue(reading, NAME, series[1] if series else NAME, topic or None, last, last, entries, raw)


def _entry(reading: Reading, line: int, piece: str, last: str) -> Entry | str:
    raw = _parts(piece)
    badge = grammar.paper_of(raw["badge"]) if "badge" in raw else None
    link = grammar.paper_of(raw["link"]) if raw.get("link") else None
    paper = badge or link
    if not isinstance(paper, PaperId):
        return paper or "the entry has no arXiv id"
    version = None
    if isinstance(link, PaperId) and link.base == paper.base:
        version = link.version
    else:
        told = f"links {raw['link'][:80]!r}" if raw.get("link") else "has no link"
        reading.warn(line, f"the entry of {paper.base} {told}; the badge counts")
    if grammar.ahead(paper, last):
        reading.warn(line, f"{paper.base} is of a month after the issue's date {last}")
    title = reading.plain(raw["title"])
    if not title.strip():
        reading.warn(line, f"{paper.base} has no title")
    escaped = reading.mark is not None
    authors, authors_cut = grammar.people(raw.get("authors", ""), escaped)
    abstract = reading.plain_html(grammar.joined(raw.get("abstract", ""))) or None
    if "details" in raw and f"\n{_CLOSE}" not in piece:
        reading.warn(grammar.last_line(line, piece), f"the abstract of {paper.base} is not closed by </details>")
    for name, value in (("authors", authors), ("abstract", abstract)):
        if value is None:
            reading.warn(line, f"{paper.base} has no {name}")
    return Entry(
        paper.base, raw, title, abstract, version, PaperId(paper.base, version).url, authors, authors_cut,
        tuple(_CODE.findall(raw.get("categories", ""))) or None, lines=(line, grammar.last_line(line, piece)),
    )  # fmt: skip


def _parts(piece: str) -> dict[str, str]:
    """The parts of an entry; those that are missing or out of place are left out."""
    lines = piece.split("\n")
    raw = _head(lines[0])
    at = 1
    if len(lines) > at and lines[at].startswith("  _") and lines[at].endswith("_") and len(lines[at]) > 3:
        raw["authors"] = lines[at][3:-1]
        at += 1
    if len(lines) > at and lines[at].startswith("  > "):
        raw["note"] = lines[at][4:]
        at += 1
    if len(lines) > at and _OPEN.fullmatch(lines[at]):
        raw["details"] = lines[at][2:]
        at += 1
        close = len(lines) - 1
        while close > at and lines[close] != _CLOSE:
            close -= 1
        end = close if close > at or lines[at : at + 1] == [_CLOSE] else len(lines)
        if end > at:
            raw["abstract"] = "\n".join(lines[at:end]).removeprefix("  ")
        at = end + 1
    raw["after"] = "\n".join(["", *lines[at:]]) if at <= len(lines) else ""
    return raw


def _head(line: str) -> dict[str, str]:
    badge = line.rfind("`arXiv:")
    stem = (line if badge < 0 else line[:badge]).rstrip()
    middle = stem.rfind("](")
    if middle < 5:
        raw = {"title": stem[5:].removesuffix(")**"), "link": ""}
    else:
        raw = {"title": stem[5:middle], "link": stem[middle + 2 :].removesuffix(")**")}
    if badge >= 0:
        raw["badge"], _, raw["categories"] = line[badge + 7 :].partition("`")
    return raw


def layout(raw: Mapping[str, str]) -> str:
    """The text of an entry with these parts."""
    lines = [f"- **[{raw['title']}]({raw['link']})**"]
    if "badge" in raw:
        lines[0] += f"  `arXiv:{raw['badge']}`{raw['categories']}"
    if "authors" in raw:
        lines.append(f"  _{raw['authors']}_")
    if "note" in raw:
        lines.append(f"  > {raw['note']}")
    if "details" in raw:
        lines.append("  " + raw["details"])
        if "abstract" in raw:
            lines.append("  " + raw["abstract"])
        lines.append(_CLOSE)
    return "\n".join(lines) + raw["after"]


def write(issue: Issue, *, mode: str = "faithful", notes: Mapping[str, str] | None = None) -> str:
    """``issue`` as a topic list: ``faithful`` gives the text it was read from, ``clean`` a new one, escaped.

    ``notes``: a line to print with an entry, by arXiv id (clean only).
    """
    if grammar.choose_mode(mode) == "faithful":
        return grammar.faithful(issue, NAME, layout)
    topic = escape(issue.topic or "All")
    words = {
        name: issue.raw.get(name) or told for name, told in (("keywords", f"`{issue.topic or 'all'}`"), ("filter", "`None`"))
    }
    head = [
        f"# 🔍 {topic} Papers · {issue.last}", "", grammar.print_mark(issue),
        f"[![Total Papers](https://img.shields.io/badge/Papers-{len(issue.entries)}-2688EB)]()", "", "---", "",
        "## 📌 Filter by Category", f"**Keywords**: {_words(words['keywords'])}  ", f"**Filter**: {_words(words['filter'])}",
        "", "---", "", "## 📚 Paper List", "",
    ]  # fmt: skip
    entries = [layout(_clean(entry, (notes or {}).get(entry.id))) for entry in issue.entries]
    return "\n".join([*head, "\n\n".join(entries) + "\n" if entries else ""])


def _words(printed: str) -> str:
    """Keywords in code spans: what stands between them is dropped."""
    return " ".join(f"`{flat(word)}`" for word in _CODE.findall(printed)) or "`None`"


def _clean(entry: Entry, note: str | None) -> dict[str, str]:
    raw = {
        "title": escape(entry.title), "link": quote(PaperId(entry.id, entry.version).url, safe=":/"), "badge": entry.id,
        "categories": "  " + " ".join(f"`{name.replace('`', '')}`" for name in entry.categories or ()) + "  ", "after": "",
    }  # fmt: skip
    if entry.authors is not None:
        raw["authors"] = grammar.print_people(entry.authors, entry.authors_cut)
    if note:
        raw["note"] = escape(note)
    if entry.abstract is not None:
        raw |= {"details": "<details open><summary>Abstract</summary>", "abstract": escape_html(entry.abstract)}
    return raw
