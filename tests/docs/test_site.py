"""The built documentation: a page for everything that runs, no dead link, nothing from another host, and it works from disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from diffolio import miniatures, registry
from docs.builder import links, site
from docs.builder.__main__ import pages, write
from docs.builder.content import Entry, entries
from docs.builder.text import blocks, cell, prose, table
from tests.docs.conftest import parses
from tests.docs.markdown import blocks_of


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return pages()


def test_the_lines_on_a_methods_page_run(written: dict[str, str], desk: Path, shell: Callable[[str], tuple[int, str]]) -> None:
    """They come from one template for each kind: for one method of each they are run; for the others, and for editors, whose many steps
    their own tests shorten, command lines are parsed and Python lines compiled."""
    waiting = {"technique", "tool", "recipe"}
    for entry in sorted(entries(), key=lambda entry: entry.name):
        first = entry.card.kind in waiting and not entry.edits and entry.card.works_on and quick(entry)
        for block in blocks_of(written[entry.page]):
            for line in block.commands if block.language == "bash" else ():
                assert parses(line), line
                assert not first or block.mark or shell(line)[0] == 0, line
            if block.language == "python":
                code = compile(block.code, entry.page, "exec")
                if first:
                    exec(code, {})
        waiting -= {entry.card.kind} if first else set()
    assert not waiting, f"no quick method of these kinds: {waiting}"


def quick(entry: Entry) -> bool:
    """Whether a few steps of sampling are about all that it does: it has no rounds or pictures of its own to count."""
    return not {"rounds", "iterations", "images", "explored"} & {knob.name for knob in entry.card.knobs}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site without the reference, which takes most of the time (``make docs`` builds and checks all of it)."""
    pytest.importorskip("zensical")
    folder = tmp_path_factory.mktemp("docs")
    write(folder / "pages", reference=False)
    wrong = site.build(folder, reference=False)
    assert not wrong, "\n".join(wrong)
    return folder / "site"


def test_a_page_for_everything_that_runs(written: dict[str, str]) -> None:
    for entry in entries():
        text = written[entry.page]
        for heading in (
            "Run it",
            "The idea",
            "Knobs",
            "When to use it",
            "Cost",
            "What the claim measured",
            "What was not reproduced",
        ):
            assert f"\n## {heading}\n" in text, (entry.name, heading)
        assert f"arxiv.org/abs/{entry.card.paper}" in text
        for knob in entry.card.knobs:
            assert f"| `{knob.name}`<br>" in text and cell(knob.range.means) in text
        if entry.found:
            failing = [row for row in entry.found["rows"] if row["holds"] is False]
            missed = text.split("## What was not reproduced")[1]
            assert all(cell(row["metric"]) in missed for row in failing), f"{entry.name}: a row that failed is not told"
    assert {entry.name for entry in entries()} == set(registry.cards())
    assert {f"models/{name}.md" for name in miniatures.available()} <= set(written)


def test_failures_are_as_visible_as_successes(written: dict[str, str]) -> None:
    for page in ("evidence.md", "gallery.md"):
        for entry in entries():
            if entry.found and (page == "evidence.md" or entry.found["picture"]):
                (line,) = [
                    one
                    for one in written[page].splitlines()
                    if one.startswith((f"| [{entry.name}]", f"<figcaption markdown>**[{entry.name}]"))
                ]
                assert ("holds" if entry.found["holds"] else "fails") in line


def test_every_link_leads_somewhere_and_nothing_comes_from_elsewhere(built: Path) -> None:
    assert links.problems(built) == []
    assert (built / "index.html").exists()
    text = (built / "methods" / entries()[0].card.family / f"{entries()[0].name}.html").read_text(encoding="utf-8")
    assert "@TABLE@" not in text and "<!-- fill" not in text


def test_the_checker_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">a</h1><a href="b.html">1</a><a href="#top">2</a><a href="#none">3</a><a href="https://arxiv.org">4</a>'
        '<img src="p.png"><script src="https://unpkg.com/x.js"></script>'
    )
    (tmp_path / "s.css").write_text("@font-face { src: url(https://fonts.example/x.woff) }")
    assert links.problems(tmp_path) == [
        "a.html -> b.html: no such file", "a.html -> #none: no such place in a.html", "a.html -> p.png: no such file",
        "a.html loads https://unpkg.com/x.js from another host", "s.css loads url(http from another host",
    ]  # fmt: skip


def test_docstrings_become_pages() -> None:
    text = blocks(
        "Head: line.\n\nText with ``code <a>`` and A[i] < b:\n- one\n- two\n\n    x = y_1 * 2\n\n    z\n\nPaper and code: other."
    )
    assert [block.equation for block in text] == [False, False, True, False]
    assert text[1].markdown() == "Text with `code <a>` and A&#91;i] &lt; b:\n\n- one\n- two"
    assert text[2].markdown() == "```text\nx = y_1 * 2\n\nz\n```"
    assert text[3].tells_differences
    assert prose("a | b") == "a &#124; b"
    assert table(("x",), [(1,)]) == "| x |\n| --- |\n| 1 |"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_opens_from_disk(browser, built: Path, width: int, scheme: str) -> None:  # type: ignore[no-untyped-def]
    """No request leaves the machine, no script fails, nothing is wider than the window, every picture loads, the search finds."""
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("request", lambda asked: trouble.append(asked.url) if asked.url.startswith("http") else None)
    shown = next(entry for entry in entries() if entry.found and entry.found["picture"])
    for place in ("index.html", "evidence.html", "gallery.html", shown.page.replace(".md", ".html")):
        page.goto((built / place).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{place} is wider than {width} pixels"
        page.evaluate("document.querySelectorAll('img').forEach(one => one.loading = 'eager')")
        page.wait_for_function("[...document.images].every(one => one.complete)")
        assert page.evaluate("[...document.images].every(one => one.naturalWidth > 0)"), place
    page.keyboard.press("Control+k")
    page.keyboard.type(shown.title)
    page.wait_for_selector(f"a[href*='{shown.name}']:visible", timeout=15000)
    assert not trouble
