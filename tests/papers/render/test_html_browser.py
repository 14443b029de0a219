"""The page in a real browser: it works from disk without a network, runs nothing of a record, and is quick and accessible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from diffolio.papers.issue import Digest
from diffolio.papers.render import render

# Every text element whose contrast with its background is under 4.5, as WCAG 2 computes it.
CONTRAST = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (el) => {
    for (; el; el = el.parentElement) {
      const c = channels(getComputedStyle(el).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const el of document.querySelectorAll("body *")) {
    if (!el.checkVisibility() || ![...el.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(channels(getComputedStyle(el).color)), light(behind(el))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${el.tagName}.${el.className} ${ratio.toFixed(2)}`);
  }
  return bad;
}"""
HEADINGS = "all => all.filter(h => !h.hidden).map(h => h.innerText)"
OUTLINE = "(({outlineStyle, outlineWidth}) => [outlineStyle, parseFloat(outlineWidth)])(getComputedStyle(document.activeElement))"
NOW = "[...document.querySelectorAll('article')].filter(a => a.checkVisibility()).map(a => a.id.split('v')[0])"
SHOWN = "all => all.filter(a => a.checkVisibility()).map(a => a.id)"


@pytest.fixture(scope="module")
def file(issue: Digest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("page") / "issue.html"
    path.write_text(render(issue, "html"), encoding="utf-8")
    return path


@pytest.fixture
def page(browser, file: Path):  # type: ignore[no-untyped-def]
    yield from opened(browser, file)


def opened(browser, file: Path, **options: object):  # type: ignore[no-untyped-def]
    """The page in a fresh context; any request elsewhere, console message or script error fails the test."""
    context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    found = context.new_page()
    trouble: list[str] = []
    found.on("console", lambda message: trouble.append(message.text))
    found.on("pageerror", lambda error: trouble.append(str(error)))
    found.on("request", lambda request: None if request.url.startswith((file.as_uri(), "data:")) else trouble.append(request.url))
    found.goto(file.as_uri())
    yield found
    assert trouble == [] and found.evaluate("window.hacked") is None
    context.close()


def shown(page) -> list[str]:  # type: ignore[no-untyped-def]
    return [
        told.split("v")[0]
        for told in page.eval_on_selector_all("article", "all => all.filter(a => a.checkVisibility()).map(a => a.id)")
    ]


def test_search_finds_in_title_authors_and_abstract(page) -> None:  # type: ignore[no-untyped-def]
    assert len(shown(page)) == 7
    for text, ids in {
        "WIDE kernels": ["2403.12963"], "muller": ["2403.12963", "2312.00123"], "receptive fields": ["2403.12963"],
        "author 499": ["2403.11111"], "图像": ["2403.09999"], "2403.06666": ["2403.06666"], "nothing has this": [],
    }.items():  # fmt: skip
        page.fill("#q", text)
        page.wait_for_function(f"ids => JSON.stringify({NOW}) === JSON.stringify(ids)", arg=ids)
        assert shown(page) == ids
        assert page.inner_text("#status") == f"{len(ids)} of 7 papers"
    assert page.is_visible("#none")
    page.click("#again")
    assert len(shown(page)) == 7 and page.inner_text("#status") == "7 papers"


def test_a_match_inside_a_folded_abstract_is_pointed_out(page) -> None:  # type: ignore[no-untyped-def]
    page.fill("#q", "receptive")
    page.wait_for_selector("article[data-hit]")
    assert page.eval_on_selector_all("article[data-hit]", "all => all.map(a => a.id)") == ["2403.12963v1"]


def test_filters(page) -> None:  # type: ignore[no-untyped-def]
    page.check("#runs")
    assert shown(page) == ["2403.12963", "2403.11111"]
    page.uncheck("#runs")
    page.select_option("#category", "cs.LG")
    assert shown(page) == ["2403.12963", "2402.05555", "2403.11111"]
    page.select_option("#category", "")
    page.select_option("#family", "acceleration")
    assert shown(page) == ["2403.11111"]
    page.click("#clear")
    page.fill("#from", "2024-03-16")
    page.fill("#to", "2024-03-18")
    page.dispatch_event("#to", "change")
    assert shown(page) == ["2312.00123", "2311.00007", "2403.11111", "2403.06666"]
    page.click("#clear")
    page.uncheck("[name=kind][value=new]")
    assert shown(page) == ["2402.05555", "2312.00123", "2311.00007"]
    assert page.eval_on_selector_all("h2", HEADINGS) == [
        "Tuesday, 19 March 2024 1 of 2",
        "Monday, 18 March 2024 2",
    ]


def test_order(page) -> None:  # type: ignore[no-untyped-def]
    issued = shown(page)
    page.select_option("#sort", "oldest")
    assert shown(page)[0] == "2403.09999" and page.eval_on_selector_all("h2", "all => all.every(h => h.hidden)")
    page.select_option("#sort", "title")
    assert shown(page)[:2] == ["2403.06666", "2402.05555"]
    page.select_option("#sort", "runs")
    assert set(shown(page)[:2]) == {"2403.12963", "2403.11111"}
    page.select_option("#sort", "")
    assert shown(page) == issued and page.eval_on_selector_all("h2", "all => all.every(h => !h.hidden)")


def test_a_view_can_be_kept(page, file: Path) -> None:  # type: ignore[no-untyped-def]
    page.fill("#q", "muller")
    page.check("#runs")
    page.wait_for_function("() => location.hash.includes('runs=1')")
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert shown(page) == ["2403.12963"] and page.input_value("#q") == "muller"


def test_keyboard(page) -> None:  # type: ignore[no-untyped-def]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("wide")
    page.keyboard.press("Escape")
    assert page.input_value("#q") == ""
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.closest('article').id") == "2402.05555v1"
    page.keyboard.press("Tab")
    outline = page.evaluate(OUTLINE)
    assert outline[0] != "none" and outline[1] >= 2


def test_folding(page) -> None:  # type: ignore[no-untyped-def]
    assert page.eval_on_selector_all(".abstract", "all => all.every(d => !d.open)")
    page.click("#unfold")
    assert page.eval_on_selector_all(".abstract", "all => all.length && all.every(d => d.open)")
    page.click(".more")
    assert "Author 499" in page.inner_text("[id='2403.11111v1'] .by")


def test_the_command_is_copied(browser, file: Path) -> None:  # type: ignore[no-untyped-def]
    for page in opened(browser, file, permissions=["clipboard-read", "clipboard-write"]):
        page.click(".copy >> nth=0")
        page.wait_for_function("() => document.querySelector('.copy').textContent !== 'Copy'")
        assert page.evaluate("navigator.clipboard.readText()") == "diffolio run fouriscale"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_readable(browser, file: Path, scheme: str, width: int) -> None:  # type: ignore[no-untyped-def]
    """Fits the width, and every text has a contrast of 4.5 and more, with everything unfolded."""
    for page in opened(browser, file, viewport={"width": width, "height": 740}, color_scheme=scheme):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRAST) == []
        page.click("#theme")
        assert page.evaluate("document.documentElement.dataset.theme") == {"light": "dark", "dark": "light"}[scheme]
        assert page.evaluate(CONTRAST) == []


def test_the_colours_are_kept(browser, file: Path) -> None:  # type: ignore[no-untyped-def]
    for page in opened(browser, file, color_scheme="light"):
        before = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        page.click("#theme")
        for _ in range(10):
            page.wait_for_timeout(300)  # the browser hands what a page keeps to its disk a moment later
            page.reload()
            if page.inner_text("#theme") == "Light":
                break
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != before
        assert page.inner_text("#theme") == "Light"


def test_buttons_are_large_enough_for_a_finger(browser, file: Path) -> None:  # type: ignore[no-untyped-def]
    for page in opened(browser, file, viewport={"width": 360, "height": 740}):
        page.click("#filters > summary")
        small = page.eval_on_selector_all(
            "button, select, input:not([type=checkbox]), .check, summary",
            "all => all.filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 24).map(e => e.outerHTML)",
        )
        assert small == []


def test_without_a_script_everything_is_there(browser, file: Path) -> None:  # type: ignore[no-untyped-def]
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator("article").count() == 7 and not page.is_visible("#controls") and not page.is_visible("#theme")
    page.click(".abstract >> nth=0 >> summary")
    assert page.is_visible(".abstract p >> nth=0")
    context.close()


def test_print(page) -> None:  # type: ignore[no-untyped-def]
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not page.is_visible("#controls") and page.eval_on_selector_all("main details", "all => all.every(d => d.open)")
    assert page.pdf().startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.eval_on_selector_all("main details", "all => all.every(d => !d.open)")


def test_the_policy_stops_what_would_get_in(issue: Digest, browser, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Even if a script stood in the page unescaped, it would not run, nor could it load anything."""
    text = render(issue, "html").replace(
        "</main>", "<script>window.hacked=1</script><img src=x onerror='window.hacked=1'></main>"
    )
    path = tmp_path / "broken.html"
    path.write_text(text, encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.evaluate("window.hacked") is None
    context.close()


def test_an_empty_issue(empty: Digest, browser, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "empty.html"
    path.write_text(render(empty, "html"), encoding="utf-8")
    for page in opened(browser, path):
        assert page.is_visible("text=Nothing to report") and page.locator("#controls").count() == 0
        page.click("#theme")


@pytest.fixture(scope="module")
def thousand(issue: Digest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = issue.entries[0]
    ids = [f"2403.{n:05}" for n in range(1, 1001)]
    entries = tuple(replace(first, paper=replace(first.paper, id=id), title=f"Paper {id} on tokens") for id in ids)
    path: Path = tmp_path_factory.mktemp("many") / "many.html"
    path.write_text(render(replace(issue, entries=entries), "html"), encoding="utf-8")
    return path


def test_a_thousand_papers_answer_at_once(browser, thousand: Path) -> None:  # type: ignore[no-untyped-def]
    """A generous bound that holds on a busy machine; the benchmark measures 5,000."""
    for page in opened(browser, thousand):
        page.evaluate("1")
        milliseconds = page.evaluate("""async () => {
          const q = document.getElementById("q"), start = performance.now();
          q.value = "03.00777";
          q.dispatchEvent(new Event("input", { bubbles: true }));
          await new Promise(requestAnimationFrame);
          await new Promise(requestAnimationFrame);
          return performance.now() - start;
        }""")
        assert page.inner_text("#status") == "1 of 1,000 papers" and shown(page) == ["2403.00777"]
        assert milliseconds < 1000


def test_scrolling_brings_the_rest(browser, thousand: Path) -> None:  # type: ignore[no-untyped-def]
    for page in opened(browser, thousand):
        at_first = len(shown(page))
        assert at_first < 1000 and page.inner_text("#status") == "1,000 papers"
        for _ in range(100):  # what comes into view gets its true height, so the end moves away
            page.evaluate("scrollTo({ top: document.body.scrollHeight, behavior: 'instant' })")
            page.wait_for_timeout(20)
            if len(shown(page)) > at_first:
                break
        assert at_first < len(shown(page)) < 1000
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert len(shown(page)) == 1000


def test_an_address_names_a_paper_far_down(browser, thousand: Path) -> None:  # type: ignore[no-untyped-def]
    for page in opened(browser, thousand):
        page.evaluate("location.hash = '2403.00900v1'")
        top = "() => { const t = document.getElementById('2403.00900v1').getBoundingClientRect().top; return t >= 0 && t < innerHeight; }"
        page.wait_for_function(top, timeout=10_000)
