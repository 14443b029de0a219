"""An issue as one HTML file: no request to anywhere, usable from disk, with search, filters, light and dark.

The file holds every entry as plain HTML; the script only hides and sorts. It reads without a script, and prints. Everything
from a record is escaped by the template engine, addresses pass :func:`common.safe_url`, and a Content-Security-Policy names
the two scripts and the style by their hashes: nothing else may run, load or be sent.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from diffolio.papers.changes import Change
from diffolio.papers.digest import Digest, DigestEntry
from diffolio.papers.render import common

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).parent
NAMES_SHOWN = 12  # authors before the rest is folded


def html(digest: Digest) -> str:
    """The whole page."""
    style, theme, script = (_asset(name) for name in ("page.css", "theme.js", "page.js"))
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(theme)}' '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _environment().get_template("page.html.j2")
    return page.render(
        digest=digest, policy=policy, style=_raw(style), theme=_raw(theme), script=_raw(script), counts=digest.counts,
        categories=_counted(category for entry in digest.entries for category in dict.fromkeys(entry.categories)),
        families=_counted(entry.family for entry in digest.entries if entry.family),
        kinds=[(kind, name) for kind, name in common.KIND_NAMES.items() if digest.counts[kind]],
        days=(min(days), max(days)) if (days := [_day(entry) for entry in digest.entries]) else None,
    ) + "\n"  # fmt: skip


def fragment(entry: DigestEntry) -> str:
    """One entry as plain HTML, for feed readers and mail programs."""
    return str(_environment().get_template("fragment.html.j2").render(entry=entry)).strip()


def mail_page(digest: Digest) -> str:
    """The HTML part of a mail."""
    return _environment().get_template("mail.html.j2").render(digest=digest) + "\n"


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    made.filters |= {"clean": common.clean, "readable": common.readable}
    for helper in (
        common.links, common.news, common.names, common.evidence, common.family_name, common.heading, common.title, common.counted,
        common.facts, common.unknown_change, common.subject,
    ):  # fmt: skip
        made.globals[helper.__name__] = helper
    made.globals.update(
        diff=_diff, day=_day, fragment=lambda entry: _raw(fragment(entry)), shown_names=NAMES_SHOWN, kind_names=common.KIND_NAMES
    )
    return made


def _diff(change: Change) -> Markup:
    from markupsafe import Markup, escape

    told = common.marked(change.parts, ("<del>", "</del>"), ("<ins>", "</ins>"), lambda text: str(escape(common.kept(text))))
    return Markup(told)  # every part of it was escaped one line above


def _day(entry: DigestEntry) -> str:
    """The day that the date filter compares; of a month the first."""
    return entry.day if len(entry.day) > 7 else f"{entry.day}-01"


def _counted(names) -> list[tuple[str, int]]:  # type: ignore[no-untyped-def]
    return sorted(Counter(names).items())


def _raw(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)


@functools.cache
def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
