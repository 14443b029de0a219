"""Digest: what was published, found by the query language and a few filters; what runs here has its figure and a button."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from diffolio import registry
from diffolio.cli.papers_show import names
from diffolio.errors import DiffolioError
from diffolio.papers.days import day_range, today_of
from diffolio.papers.nodes import QueryError
from diffolio.papers.query import parse
from diffolio.papers.search import search
from diffolio.papers.shown import shown_summary
from diffolio.papers.topics import topics
from diffolio.papers.view import Paper
from diffolio.web import markup, recorded
from diffolio.web.markup import chip, esc, link
from diffolio.web.source import Source

PAGE = 20
ANY = "any"
ORDERS = {"best match": "relevance", "newest": "newest", "oldest": "oldest", "last listed": "listed"}
STATES = {"holds": "claim holds", "fails": "claim fails", "stale": "evidence is stale"}
CLASSES = {"✓": "supported", "✗": "contradicted", "!": "missing", "?": "unchecked"}


@dataclass(frozen=True)
class Wanted:
    """What the fields of the tab say."""

    text: str = ""
    topic: str = ANY
    category: str = ANY
    family: str = ANY
    first: str = ""
    last: str = ""
    runs: bool = False
    order: str = "best match"


def query_of(wanted: Wanted, topic_query: str = "") -> str:
    """The fields as one query. The text must have been parsed alone before, so that positions in errors are the user's."""
    text = wanted.text.strip()
    parts = [f"({text})" if re.search(r"\bOR\b|\)", text) else text] if text else []
    parts += [f"({topic_query})"] if topic_query else []
    parts += [f"cat:{wanted.category}"] if wanted.category != ANY else []
    parts += [f"family:{wanted.family}"] if wanted.family != ANY else []
    if wanted.first.strip() or wanted.last.strip():
        parts.append(f"date:{wanted.first.strip()}..{wanted.last.strip()}")
    parts += ["runnable:yes"] if wanted.runs else []
    if "sort:" not in text and wanted.order in ORDERS:
        parts.append(f"sort:{ORDERS[wanted.order]}")
    return " ".join(parts)


def find(source: Source, wanted: Wanted, limit: int = PAGE) -> tuple[str, dict[str, str], bool]:
    """The list as HTML, what is wrong by field ("text", "first", "last"), and whether there is more."""
    wrong = _wrong_days(wanted)
    try:
        parse(wanted.text)
        if wrong:
            raise QueryError("", 0)
        with source.open() as library:
            chosen = next((t.query for t in topics(library) if t.name == wanted.topic), "")
            found = search(library, query_of(wanted, chosen), limit=limit)
            if not found.papers and re.search(r"(?:^|\s)[\w-]*\w$", wanted.text):  # perhaps the last word is still being typed
                found = search(library, query_of(replace(wanted, text=f"{wanted.text}*"), chosen), limit=limit)
            count = f"{found.total:,}" if found.exact else f"about {found.total:,}"
            told = f"{len(found.papers)} of {count} papers" if found.papers else "no paper is like that: leave something out"
            head = f'<p class="count" role="status">{esc(told)}{"; " + esc(found.note) if found.note else ""}</p>'
            hint = markup.note(
                "This is the bundled catalogue. `diffolio papers import` or `pull` brings your own digests, with abstracts."
            )
            body = "".join(entry(paper) for paper in found.papers)
            return (hint if source.bundled else "") + head + body, {}, found.total > limit
    except DiffolioError as error:
        return "", wrong or {"text": str(error)}, False


def _wrong_days(wanted: Wanted) -> dict[str, str]:
    wrong = {}
    for name, text in (("first", wanted.first), ("last", wanted.last)):
        try:
            if text.strip():
                day_range(text.strip().lower(), 1, today_of(None))
        except QueryError as error:
            wrong[name] = str(error).removesuffix(" (position 1)")
    if not wrong and wanted.first.strip() and wanted.last.strip():
        try:
            day_range(f"{wanted.first.strip()}..{wanted.last.strip()}".lower(), 1, today_of(None))
        except QueryError as error:
            wrong["last"] = str(error)
    return wrong


def categories(source: Source) -> list[str]:
    """The categories of the library that are at least two papers', the commonest first."""
    with source.open() as library:
        sql = "SELECT name FROM category JOIN term ON term.id = term GROUP BY term ORDER BY count(*) DESC, name LIMIT 40"
        return [ANY, *(name for (name,) in library.connection.execute(sql))]


def topic_names(source: Source) -> list[str]:
    with source.open() as library:
        return [ANY, *(topic.name for topic in topics(library))]


def families() -> list[str]:
    return [ANY, *sorted({card.family for card in registry.cards().values()})]


def entry(paper: Paper) -> str:
    """One paper: title, authors, what it is, its summary with marks, links, where it was listed, and whether it runs."""
    facts = [
        names(paper, 6),
        (paper.published or "")[:10],
        f"v{paper.version}" if paper.version and paper.version > 1 else "",
        paper.id,
    ]
    parts = [
        f"<h3>{link(paper.url, paper.title or '(no title)')}</h3>",
        f'<p class="by">{esc(" · ".join(fact for fact in facts if fact))}</p>',
        f'<div class="chips">{"".join(chip(name) for name in paper.categories or ())}{chip("withdrawn") if paper.withdrawn else ""}</div>',
        _summary(paper),
        _folded("Abstract", f"<p>{esc(paper.abstract)}</p>" + _doubt(paper)) if paper.abstract else "",
        _links(paper),
        _folded("Where it was listed", "".join(f"<p>{esc(line)}</p>" for line in _history(paper))) if _history(paper) else "",
        _runs(paper),
    ]
    return f'<article class="paper" id="paper-{esc(paper.id)}">{"".join(parts)}</article>'


def _folded(title: str, inner: str) -> str:
    return f"<details><summary>{esc(title)}</summary>{inner}</details>"


def _doubt(paper: Paper) -> str:
    return markup.note("This text was repaired, and the repair is uncertain.") if "abstract" in paper.uncertain else ""


def _summary(paper: Paper) -> str:
    told = shown_summary(paper)
    if told is None:
        return ""
    items = []
    for one in told.statements:
        label = f"<strong>{esc(one.label)}</strong> " if one.label else ""
        doubt = f" <small>{esc(one.doubt)}</small>" if one.doubt else ""
        mark = f'<span class="mark {CLASSES[one.mark]}" role="img" aria-label="{esc(one.verdict)}">{one.mark}</span>'
        items.append(f"<li>{mark}{label}{esc(' '.join(one.text.split()))}{doubt}</li>")
    return f'<ul class="marks">{"".join(items)}</ul>{markup.note(f"{told.by}; check: {told.tally}")}'


def _links(paper: Paper) -> str:
    found = [link(one.url, f"{one.kind}: {re.sub(r'^https?://(www[.])?', '', one.url)[:48]}", one.kind) for one in paper.links]
    return f'<div class="links">{"".join(found)}</div>' if found else ""


def _history(paper: Paper) -> list[str]:
    lines = []
    for one in paper.listings:
        when = one.first if one.first == one.last else f"{one.first} to {one.last}"
        lines.append(f"{one.series}, {when}, place {one.position}")
    lines += [f"arXiv announced it on {one.day} ({one.type})" for one in paper.announcements]
    return lines


def _runs(paper: Paper) -> str:
    if paper.runnable is None:
        return ""
    runs = paper.runnable
    found = recorded.evidence(runs.name)
    metric = found["rows"][0]["metric"] if found else ""
    state = f'<span class="{runs.claim}">{STATES[runs.claim]}</span>' if runs.claim else "no claim recorded yet"
    shown = f'<img src="evidence/small/{esc(runs.name)}" alt="picture of the claim of {esc(runs.name)}" loading="lazy">'
    picture = shown if found and found.get("picture_path") else ""
    told = f"{state}{': ' + esc(metric) if metric else ''}<br><b>{esc(runs.figure or '')}</b>"
    name, title = esc(runs.name), esc(paper.title or "")
    button = f'<button type="button" data-run="{name}" aria-label="Run {name}: {title}">Run {name}</button>'
    return f'<figure class="runs">{picture}<figcaption>{told}</figcaption>{button}</figure>'


class Tab:
    """The components of the tab."""

    def __init__(self, source: Source) -> None:
        import gradio as gr

        self.source = source
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=260):
                self.text = gr.Textbox(
                    label="Search",
                    placeholder='token merging, title:"attention map", author:wu since:2024-03 runnable:yes',
                    elem_id="q",
                    max_lines=1,
                )
                self.text_wrong = gr.HTML(elem_classes="beside")
            with gr.Column(scale=1, min_width=130):
                self.order = gr.Dropdown(list(ORDERS), value="best match", label="Order", filterable=False)
        with gr.Accordion("Filters and the query language", open=False):
            with gr.Row():
                self.topic = gr.Dropdown(topic_names(source), value=ANY, label="Topic")
                self.category = gr.Dropdown(categories(source), value=ANY, label="Category", filterable=True)
                self.family = gr.Dropdown(families(), value=ANY, label="Family")
            with gr.Row():
                with gr.Column(min_width=160):
                    self.first = gr.Textbox(label="From", placeholder="2024-03 or 7d", max_lines=1)
                    self.first_wrong = gr.HTML(elem_classes="beside")
                with gr.Column(min_width=160):
                    self.last = gr.Textbox(label="To", placeholder="2024-03-20", max_lines=1)
                    self.last_wrong = gr.HTML(elem_classes="beside")
            gr.HTML(_syntax())
        self.runs = gr.Checkbox(label="Only papers that run here", value=source.bundled)
        self.limit = gr.State(PAGE)
        first, _, more = find(source, Wanted(runs=source.bundled))
        self.found = gr.HTML(first, js_on_load=_PICK, elem_id="found")
        self.more = gr.Button("Show more", visible=more)
        fields = [self.text, self.topic, self.category, self.family, self.first, self.last, self.runs, self.order]
        outputs = [self.found, self.more, self.limit, self.text_wrong, self.first_wrong, self.last_wrong]
        options: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "always_last", "concurrency_limit": None}
        choices = [field.change for field in (self.topic, self.category, self.family, self.runs, self.order)]
        days = [event for field in (self.first, self.last) for event in (field.blur, field.submit)]
        gr.on([self.text.change, self.text.submit, *choices, *days], self.answer, fields, outputs, **options)
        self.more.click(self.answer_more, [self.limit, *fields], outputs, **options)

    def answer(self, *values: Any) -> list[Any]:
        return self.answer_more(0, *values)

    def answer_more(self, limit: int, *values: Any) -> list[Any]:
        import gradio as gr

        limit += PAGE
        text, topic, category, family, first, last, runs, order = values
        wanted = Wanted(text or "", topic or ANY, category or ANY, family or ANY, first or "", last or "", bool(runs), order)
        found, wrong, more = find(self.source, wanted, limit)
        told = [markup.problem(wrong.get(name, "")) for name in ("text", "first", "last")]
        return [gr.skip() if wrong else found, gr.update(visible=more), limit, *told]


_PICK = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-run]');
  if (button) trigger('select', { value: button.dataset.run });
});
"""


def _syntax() -> str:
    """The query language's own description."""
    import inspect

    from diffolio.papers import query

    return markup.prose(inspect.getdoc(query) or "")
