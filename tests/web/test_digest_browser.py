"""The digest and the evidence in a real browser: search, filter, sort, phone, keyboard, labels, contrast, no word to elsewhere."""

from __future__ import annotations

import pytest

from tests.papers.render.test_html_browser import CONTRAST
from tests.web.conftest import Visitor

TITLES = "all => all.map(a => a.id)"
# Everything that can be operated and has no name for those who do not see it.
NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, a[href], [role=slider], [role=tab]')].filter((el) => {
  if (!el.checkVisibility() || el.type === 'hidden') return false;
  const by = (el.getAttribute('aria-labelledby') || '').split(' ').map((id) => document.getElementById(id)?.innerText || '').join('');
  const name = el.getAttribute('aria-label') || by || el.innerText || el.title || el.placeholder
    || [...(el.labels || [])].map((l) => l.innerText).join('') || el.closest('label')?.innerText;
  return !(name || '').trim();
}).map((el) => el.outerHTML.slice(0, 160))"""


def shown(page) -> list[str]:  # type: ignore[no-untyped-def]
    return page.eval_on_selector_all("article.paper", TITLES)


def wait_for(page, ids: list[str]) -> None:  # type: ignore[no-untyped-def]
    page.wait_for_function(
        "ids => JSON.stringify([...document.querySelectorAll('article.paper')].map(a => a.id)) === JSON.stringify(ids)",
        arg=[f"paper-{id}" for id in ids],
    )


def test_search_and_filters(visitor: Visitor) -> None:
    page = visitor.open()
    assert len(shown(page)) >= 8 and page.locator("[data-run]").count() == len(shown(page))
    visitor.search('title:"token merging"')
    wait_for(page, ["2411.16720"])
    visitor.search("")
    page.wait_for_function("() => document.querySelectorAll('article.paper').length >= 8")
    page.get_by_label("Only papers that run here").uncheck()
    page.get_by_text("20 of 125 papers").wait_for()
    page.get_by_role("button", name="Show more").click()
    page.get_by_text("40 of 125 papers").wait_for()
    page.get_by_role("button", name="Filters and the query language").click()
    page.get_by_label("Family").click()
    page.get_by_role("option", name="resolution", exact=True).click()
    page.wait_for_function(
        "() => { const all = [...document.querySelectorAll('article.paper')];"
        " return all.some(a => a.id === 'paper-2403.12963') && all.length < 20; }"
    )


def test_a_wrong_query_is_said_beside_the_field(visitor: Visitor) -> None:
    page = visitor.open()
    visitor.search("runnable:maybe")
    page.get_by_text("knows no value 'maybe'").wait_for()
    page.get_by_role("button", name="Filters and the query language").click()
    visitor.search("")
    page.get_by_label("From", exact=True).fill("2024-13")
    page.keyboard.press("Enter")
    page.get_by_text("the date 2024-13 does not exist").wait_for()


def test_evidence_is_sorted_by_any_column(visitor: Visitor) -> None:
    page = visitor.open()
    visitor.tab("Evidence")
    page.wait_for_selector("#evidence tbody tr")
    rows = page.locator("#evidence table").first.locator("tbody > tr")
    assert rows.count() >= 8 and page.locator("#evidence .fails").count() >= 1
    ratios = "all => all.map(r => r.children[7].dataset.v).filter(v => v !== '').map(Number)"
    page.get_by_role("button", name="ratio").click()
    up = page.eval_on_selector_all("#evidence table:not(.matrix) > tbody > tr:has(> td > .see)", ratios)
    page.get_by_role("button", name="ratio").click()
    down = page.eval_on_selector_all("#evidence table:not(.matrix) > tbody > tr:has(> td > .see)", ratios)
    assert up == sorted(up) and down == sorted(down, reverse=True) and len(up) >= 8
    assert page.locator("#evidence th[aria-sort=descending]").count() == 1
    page.locator("#evidence .see").first.click()
    assert page.locator("dialog[open] table").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labels_and_contrast(browser, served, scheme: str) -> None:  # type: ignore[no-untyped-def]
    """Every field and button has a name, and every text a contrast of 4.5 and more, on a phone's width as well."""
    width = 390 if scheme == "dark" else 1280
    visitor = Visitor(browser, served, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = visitor.open()
    for name in ("Digest", "Paper", "Stack", "Evidence", "History"):
        if width < 500 and name in ("Evidence", "History"):
            page.locator(".overflow-menu > button").click()
            page.locator(".overflow-dropdown").get_by_text(name).click()
        else:
            visitor.tab(name)
        page.wait_for_timeout(700)
        page.evaluate("document.querySelectorAll('[role=tabpanel] details').forEach(d => { d.open = true; })")
        assert page.evaluate(NAMELESS) == [], name
        assert page.evaluate(CONTRAST) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    visitor.close()
    assert visitor.trouble == []


def test_a_link_opens_at_a_paper(visitor: Visitor) -> None:
    page = visitor.open("?method=spdinv")
    page.get_by_role("heading", name="SPDInv").wait_for()
    visitor.knobs("spdinv")
    assert page.get_by_role("button", name="Run spdinv").is_visible()
    assert page.get_by_label("Target prompt").is_visible()
