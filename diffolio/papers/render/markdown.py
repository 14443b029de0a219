"""An issue in Markdown: readable as plain text, on GitHub and in any renderer; nothing of a record can become markup."""

from __future__ import annotations

import re

from diffolio.papers.digest import Digest, DigestEntry
from diffolio.papers.render import common

_ACTIVE = re.compile(r"([\\`*_\[\]~|$])")
_START = re.compile(r"^(\s*)([#+=-])")
_LIST = re.compile(r"^(\s*\d{1,9})([.)])")


def markdown(digest: Digest) -> str:
    """The issue as Markdown with one heading per group and one per paper."""
    lines = [f"# {escape(common.title(digest))}", "", f"**{escape(common.counted(digest))}**", ""]
    for name, text in common.facts(digest):
        lines.append(f"- {name}: {code(text) if name in ('Query', 'Library') else escape(text)}")
    for group in digest.groups:
        lines += ["", f"## {escape(common.heading(group.name, digest.group))} ({len(group.entries)})"]
        for entry in group.entries:
            lines += ["", *_entry(entry)]
    return "\n".join(lines) + "\n"


def _entry(entry: DigestEntry) -> list[str]:
    paper = entry.paper
    told = [f"**{common.news(entry)}**", f"`arXiv:{entry.versioned}`", entry.submitted, *(code(c) for c in entry.categories)]
    lines = [f"### [{escape(common.readable(entry.title))}]({entry.url})", "", " · ".join(told)]
    if entry.authors:
        lines += ["", escape(common.names(entry))]
    if entry.runnable:
        lines += ["", f"> **Runs here:** {code(entry.runnable.command)} · {escape(common.evidence(entry))}"]
    lines += ["", " · ".join(f"[{name}](<{url}>)" for name, url in common.links(entry))]
    for name, text in (("Comments", paper.comments), ("Journal", paper.journal_ref), ("Also", ", ".join(entry.also))):
        if text:
            lines += ["", f"{name}: {escape(common.readable(text))}"]
    for change in entry.changes:
        lines += ["", f"Changed {change.field}: " + common.marked(change.parts, ("~~", "~~"), ("**", "**"), escape, 12)]
    if common.unknown_change(entry):
        lines += ["", "The library does not know both texts, so what changed cannot be shown."]
    if entry.summary:
        lines += ["", f"Summary ({escape(common.clean(entry.summary.by))}; {escape(entry.summary.tally)}):", ""]
        for each in entry.summary.statements:
            label = f"*{escape(common.clean(each.label))}:* " if each.label else ""
            doubt = f" *({escape(common.clean(each.doubt))})*" if each.doubt else ""
            lines.append(f"- {each.mark} {label}{escape(common.clean(each.text))}{doubt}")
    if entry.abstract:
        text = escape(common.readable(entry.abstract))
        lines += ["", "<details><summary>Abstract</summary>", "", text, "", "</details>"]
    if entry.listings:
        seen = [f"{escape(common.clean(x.series))} {x.last} (no. {x.position})" for x in entry.listings]
        lines += ["", f"Listed: {', '.join(seen)}"]
    return lines


def escape(text: str) -> str:
    """``text`` so that a Markdown renderer shows exactly it."""
    text = text.replace("\n", " ").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LIST.sub(r"\1\\\2", _START.sub(r"\1\\\2", _ACTIVE.sub(r"\\\1", text)))


def code(text: str) -> str:
    """``text`` as a code span, whatever backticks it holds."""
    text = common.clean(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}"
