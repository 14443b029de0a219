"""Pieces of HTML. Every text is escaped where it enters; nothing of a record is taken for markup."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diffolio.cards import parts_of

esc = html.escape


def problem(text: str) -> str:
    """A message beside a field."""
    return f'<p class="problem" role="alert">{esc(text)}</p>' if text else ""


def note(text: str) -> str:
    return f'<p class="note">{esc(text)}</p>' if text else ""


def figure(value: Any) -> str:
    """A number as people read it."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1e5 else f"{value:.3e}"
    return str(value)


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], caption: str) -> str:
    """A table with row heads in the first column; columns of numbers stand right."""
    rows = [list(row) for row in rows]
    numeric = [all(_is_number(row[n]) for row in rows) for n in range(len(heads))]
    kinds = ["" if n == 0 or not numeric[n] else ' class="num"' for n in range(len(heads))]
    head = "".join(f'<th scope="col"{kind}>{esc(text)}</th>' for text, kind in zip(heads, kinds, strict=True))
    body = "".join(
        f'<tr><th scope="row">{esc(figure(first))}</th>'
        + "".join(f"<td{kind}>{esc(figure(value))}</td>" for value, kind in zip(rest, kinds[1:], strict=True))
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{esc(caption)}"><table class="plain"><caption>{esc(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def bar(text: Any) -> str:
    """A claim's bar with the signs that people write."""
    return esc(str(text or "reported").replace("<=", "≤").replace(">=", "≥"))


def code(text: str, label: str) -> str:
    """Lines to copy."""
    return (
        f'<figure class="code"><figcaption>{esc(label)}'
        f'<button type="button" data-copy aria-label="Copy: {esc(label)}">Copy</button></figcaption>'
        f'<pre tabindex="0" aria-label="{esc(label)}"><code>{esc(text)}</code></pre></figure>'
    )


def prose(text: str) -> str:
    """A docstring: paragraphs, and indented lines as equations."""
    found = []
    for inside, lines in parts_of(text):
        if inside:
            indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
            found.append(
                f'<pre class="equation" tabindex="0" aria-label="equation">{esc(chr(10).join(line[indent:] for line in lines))}</pre>'
            )
        else:
            found.append(f"<p>{_inline(' '.join(line.strip() for line in lines))}</p>")
    return "".join(found)


def _inline(text: str) -> str:
    told = re.sub(r"``([^`]+)``", r"<code>\1</code>", esc(text))
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*?)\*(?!\w)", r"<em>\1</em>", told)


def chip(text: str, kind: str = "") -> str:
    return f'<span class="chip {esc(kind)}">{esc(text)}</span>'


def link(url: str, text: str, kind: str = "") -> str:
    """A link elsewhere; what is no web address is shown as text."""
    if not re.match(r"https?://", url):
        return esc(text)
    return f'<a class="{esc(kind)}" href="{esc(url)}" target="_blank" rel="noopener noreferrer">{esc(text)}</a>'


def report_tables(report: Mapping[str, Any]) -> str:
    """What a method reports beside its numbers: lists of rows as tables, the rest as names and values; nothing endless."""
    found, flat = [], []
    for name, value in report.items():
        title = name.replace("_", " ")
        if isinstance(value, Mapping) and value and all(isinstance(part, Mapping) for part in value.values()):
            heads = list(dict.fromkeys(key for part in value.values() for key in part))
            found.append(
                table(
                    ["", *heads], [[key, *(_short(part.get(h)) for h in heads)] for key, part in list(value.items())[:100]], title
                )
            )
        elif isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
            heads = list(dict.fromkeys(key for part in value for key in part))
            found.append(
                table(["", *heads], [[n, *(_short(part.get(h)) for h in heads)] for n, part in enumerate(value[:100], 1)], title)
            )
        elif isinstance(value, Mapping):
            found.append(
                report_tables({f"{title}: {key}": part for key, part in value.items()})
                if _deep(value)
                else table([title, "value"], [[k, _short(v)] for k, v in value.items()], title)
            )
        elif name != "notes" and value not in (None, "", [], {}):
            flat.append([title, _short(value)])
    return "".join(found) + (table(["what", "value"], flat, "also reported") if flat else "")


def _deep(value: Mapping[str, Any]) -> bool:
    return any(isinstance(part, (Mapping, list)) and part for part in value.values())


def _short(value: Any, most: int = 300) -> Any:
    if isinstance(value, (list, tuple)):
        value = ", ".join(figure(part) if not isinstance(part, (Mapping, list)) else str(part) for part in value)
    if isinstance(value, Mapping):
        value = ", ".join(f"{key} {figure(part)}" for key, part in value.items())
    return value[: most - 1] + "…" if isinstance(value, str) and len(value) > most else value
