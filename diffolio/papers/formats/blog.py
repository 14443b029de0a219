"""Blog digests: a page with YAML front matter, per paper authors, abstract, a link, and a model's summary and long notes.

    (one empty line) --- front matter: title, date, author, ... ---
    # {YYYY-MM-DD} 更新                                     some files have two such sections
    ## {title}
    **Authors:{all authors}**
    {abstract}␠
    [PDF]({link}) {comments}
    **Summary** or **摘要** …                               one paragraph
    **Key Takeaways** or **要点** …                         bullets
    **[…]({link of the tool})**
    {long notes: broken HTML}
    <details> {pictures} </details>

What the model wrote is an :class:`ImportedSummary` and never reaches the record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from diffolio.errors import BadInput
from diffolio.papers.formats import grammar
from diffolio.papers.formats import notes as longer
from diffolio.papers.formats.escaping import escape, escape_html, flat
from diffolio.papers.formats.frontmatter import front_matter, print_front_matter
from diffolio.papers.formats.grammar import Reading
from diffolio.papers.identifiers import PaperId
from diffolio.papers.record import Entry, ImportedSummary, Issue

NAME = "blog"
_FRONT = re.compile(r"\s*---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)
_SECTION = re.compile(r"^# (\d{4}-\d{2}-\d{2})(?: (\S[^\n]*))?$", re.MULTILINE)
# A line of an abstract may begin with ##: a title is followed by its authors or stands where an entry must begin.
_AUTHORS_NEXT = re.compile(r"[^\n]*\n\s*?\*\*Authors:")
_BEFORE = re.compile(r"(?:</details>|^# \d{4}-\d{2}-\d{2}[^\n]*)\s*\Z", re.MULTILINE)
_PDF = re.compile(r"^\[PDF\]\((\S*?)\)(?: ([^\n]*))?$", re.MULTILINE)
_LABEL = re.compile(
    r"^\*\*(?:(?P<summary>Summary|TL;?DR|摘要|总结|概要)|(?P<takeaways>Key (?:Takeaways|Points|Insights)|(?:关键|主要|核心)?"
    r"(?:要点|见解|收获|观点)))[ :：]*\*\*[ :：]*",
    re.MULTILINE | re.IGNORECASE,
)
_TOOL = re.compile(r"^\*\*\[[^\]\n]{0,200}\]\([^)\n]{0,500}\)\*\*[ \t]*$", re.MULTILINE)
_HTML = re.compile(r"^<[a-z]", re.MULTILINE)
_BULLET = re.compile(r"^[-*+] +", re.MULTILINE)
LABELS = ("Summary", "Key Takeaways")
UPDATED = "更新"


def why_not(text: str) -> tuple[int, str] | None:
    """The line that shows that this is no blog digest and what is missing there; None when it is one."""
    front = _FRONT.match(text)
    if front is None:
        return grammar.first_line(text), "expected front matter between --- lines"
    if _SECTION.search(text, front.end()) or "**Authors:" in text:
        return None
    return text.count("\n", 0, front.end()) + 1, "expected '# YYYY-MM-DD ...' after the front matter"


def sniff(text: str) -> bool:
    return why_not(text) is None


def read(text: str, *, path: str = "") -> Issue:
    """The issue in ``text``; entries that cannot be read are skipped with a warning.

    Raises BadInput when it is no blog digest, when its front matter is unsafe or too large, or when its date does not exist.
    """
    if reason := why_not(text):
        raise BadInput(f"line {reason[0]}: {reason[1]}")
    front = _FRONT.match(text)
    assert front is not None
    reading = Reading(text)
    told = front_matter(front[1], lambda what: reading.warn(grammar.first_line(text), what))
    sections = list(_SECTION.finditer(text, front.end()))
    days = [grammar.dated(found[1], f"line {text.count(chr(10), 0, found.start()) + 1}") for found in sections]
    if not days:
        if (day := grammar.day_in(told.get("date", ""))) is None:
            raise BadInput("neither the front matter nor a heading has a date: an issue needs its date")
        days = [grammar.dated(day, "front matter")]
    starts = [at for at in grammar.line_starts(text, "## ") if at >= front.end() and _begins(text, at)]
    reading.mark = grammar.find_mark(text[front.end() : starts[0]] if starts else text[front.end() :])
    entries = grammar.collect(reading, starts, layout, lambda line, piece: _entry(reading, line, piece, max(days)))
    topic = told.get("title", "").strip() or None
    series = " ".join(filter(None, (told.get("author", "").strip(), topic))) or NAME
    return grammar.issue(reading, NAME, series, topic, min(days), max(days), entries, {})


def _begins(text: str, at: int) -> bool:
    return bool(_AUTHORS_NEXT.match(text, at) or _BEFORE.search(text[max(0, at - 200) : at]))


def _entry(reading: Reading, line: int, piece: str, last: str) -> Entry | str:
    raw = _parts(piece, reading.mark)
    paper = grammar.paper_of(raw.get("link", ""))
    if not isinstance(paper, PaperId):
        return paper if "link" in raw else "the entry has no [PDF] link, so no arXiv id"
    if grammar.ahead(paper, last):
        reading.warn(line, f"{paper.base} is of a month after the issue's date {last}")
    title = reading.plain(raw["title"])
    authors, authors_cut = grammar.people(raw.get("authors", ""), reading.mark is not None)
    abstract = reading.plain(grammar.joined(raw.get("abstract", ""))) or None
    for name, value in (("title", title.strip()), ("authors", authors), ("abstract", abstract)):
        if not value:
            reading.warn(line, f"{paper.base} has no {name}")
    return Entry(
        paper.base, raw, title, abstract, paper.version, paper.url, authors, authors_cut,
        comments=reading.plain(grammar.joined(raw.get("comments", ""))) or None, summary=_summary(reading, raw),
        lines=(line, grammar.last_line(line, piece)),
    )  # fmt: skip


def _summary(reading: Reading, raw: Mapping[str, str]) -> ImportedSummary | None:
    if not raw.keys() & {"summary", "takeaways", "block"}:
        return None
    block = raw.get("block", "")
    bullets = [reading.plain(flat(told)) for told in _BULLET.split(raw.get("takeaways", ""))]
    summary = reading.plain(flat(raw.get("summary", ""))) or None
    whole = "\n\n".join(told for name in ("summary", "takeaways", "block") if (told := raw.get(name, "").strip()))
    takeaways = tuple(told for told in bullets if told)
    fields: dict[str, Any] = dict(longer.fields_of(block) if reading.mark is None else longer.read_fields(block))
    if not (summary or takeaways or fields or block.strip()):
        return None
    language = longer.language_of(" ".join(filter(None, [summary, *takeaways])) or flat(block))
    if reading.mark is not None and isinstance(reading.mark.get("language"), str):
        language = reading.mark["language"]
    return ImportedSummary(whole, language, summary, takeaways, fields)


def _parts(piece: str, mark: Mapping[str, Any] | None) -> dict[str, str]:
    """The parts of an entry; those that are missing or out of place are left out."""
    first, _, body = piece.partition("\n")
    raw = {"title": first[3:]}
    bare = body.rstrip("\n")
    raw["after"] = body[len(bare) :]
    body = bare
    pictures = body.rfind("\n<details>\n")
    if pictures >= 0 and body.endswith("</details>"):
        raw["pictures"] = body[pictures + 1 :]
        body = body[:pictures].rstrip("\n")
    body = body.lstrip("\n")
    if body.startswith("**Authors:"):
        line, _, body = body.partition("\n")
        raw["authors"] = line[len("**Authors:") :].rstrip().removesuffix("**")
        body = body.lstrip("\n")
    link = next((found for found in _PDF.finditer(body) if isinstance(grammar.paper_of(found[1]), PaperId)), None)
    link = link or _PDF.search(body)
    if link is None:
        return raw | ({"abstract": body.rstrip("\n").removesuffix(" ")} if body.strip() else {})
    if abstract := body[: link.start()].rstrip("\n"):
        raw["abstract"] = abstract.removesuffix(" ")
    raw["link"], raw["comments"] = link[1], link[2] or ""
    return raw | _told(body[link.end() :].strip("\n"), mark)


def _told(body: str, mark: Mapping[str, Any] | None) -> dict[str, str]:
    """What the model wrote: summary, takeaways, the tool's link, the long block."""
    raw: dict[str, str] = {}
    labels = mark.get("labels") if mark else None
    if isinstance(labels, list) and len(labels) == 2 and all(isinstance(label, str) for label in labels):
        pattern = "|".join(f"(?P<{n}>{re.escape(t)})" for n, t in zip(("summary", "takeaways"), labels, strict=True))
        label_of = re.compile(rf"^\*\*(?:{pattern})\*\*", re.MULTILINE)
    else:
        label_of = _LABEL
    labelled = list(label_of.finditer(body))[:2]
    tool = _TOOL.search(body, labelled[-1].end() if labelled else 0)
    markup = _HTML.search(body, labelled[-1].end() if labelled else 0)
    end = min([found.start() for found in (tool, markup) if found] or [len(body)])
    stops = [label.start() for label in labelled[1:]] + [end]
    for label, stop in zip(labelled, stops, strict=False):
        name = str(label.lastgroup)
        raw[f"{name}_label"] = label[0]
        raw[name] = body[label.end() : stop].rstrip("\n")
    if tool and end == tool.start():
        raw["tool"] = tool[0]
        end = tool.end()
    if block := body[end:].strip("\n"):
        raw["block"] = block
    return raw


def layout(raw: Mapping[str, str]) -> str:
    """The text of an entry with these parts."""
    printed = [f"## {raw['title']}"]
    if "authors" in raw:
        printed.append(f"**Authors:{raw['authors']}**")
    if "abstract" in raw:
        printed.append(raw["abstract"] + " ")
    if "link" in raw:
        printed.append(f"[PDF]({raw['link']}) {raw['comments']}")
    if "note" in raw:
        printed.append(raw["note"])
    for name in ("summary", "takeaways"):
        if name in raw:
            printed.append(raw[f"{name}_label"] + raw[name])
    printed += [raw[name] for name in ("tool", "block") if name in raw]
    text = "\n\n".join(printed)
    if "pictures" in raw:
        text += "\n\n\n" + raw["pictures"]
    return text + raw.get("after", "")


def write(
    issue: Issue, *, mode: str = "faithful", labels: tuple[str, str] = LABELS, updated: str = UPDATED,
    notice: str | None = None, notes: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """``issue`` as a blog digest: ``faithful`` gives the text it was read from, ``clean`` a new one: escaped, valid HTML.

    ``labels``: over summaries and takeaways; ``updated``: the word after the date; ``notice``: who wrote the summaries;
    ``notes``: a line to print with an entry, by arXiv id (clean only).
    """
    if grammar.choose_mode(mode) == "faithful":
        return grammar.faithful(issue, NAME, layout)
    topic = issue.topic or "Papers"
    front = print_front_matter({"title": topic, "date": f"{issue.last} 00:00:00", "author": "Diffolio", "categories": "Paper",
                                "tags": [topic], "keywords": topic, "mathjax": True})  # fmt: skip
    if notice is None and any(entry.summary for entry in issue.entries):
        notice = f"The summaries were written by a model and came with {issue.series}; they are not part of the records."
    languages = {entry.summary.language for entry in issue.entries if entry.summary}
    mark = grammar.print_mark(issue, labels=list(labels), **({"language": languages.pop()} if len(languages) == 1 else {}))
    printed = [f"\n---\n{front}---\n\n{mark}\n\n"]
    if notice:
        printed.append(f"> {escape(notice)}\n\n")
    printed.append(f"# {issue.last} {escape(updated)}\n\n\n")
    printed += [layout(_clean(entry, labels, (notes or {}).get(entry.id))) for entry in issue.entries]
    return "".join(printed)


def _clean(entry: Entry, labels: tuple[str, str], note: str | None) -> dict[str, str]:
    raw = {"title": escape(entry.title), "link": PaperId(entry.id, entry.version).url, "after": "\n" * 5}
    raw["comments"] = escape(entry.comments or "")
    if entry.authors is not None:
        raw["authors"] = grammar.print_people(entry.authors, entry.authors_cut)
    if entry.abstract is not None:
        raw["abstract"] = escape(entry.abstract)
    if note:
        raw["note"] = f"> {escape(note)}"
    if told := entry.summary:
        for name, label, text in (
            ("summary", labels[0], told.summary and escape(told.summary)),
            ("takeaways", labels[1], "\n".join(f"- {escape(bullet)}" for bullet in told.takeaways)),
        ):
            if text:
                raw |= {f"{name}_label": f"**{label}**", name: f"\n{text}"}
        if block := longer.print_fields(told.fields, escape_html):
            raw["block"] = block
    return raw
