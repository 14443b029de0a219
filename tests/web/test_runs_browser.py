"""Runs in a real browser: a newcomer's, one that is cancelled, a mask, a stack, a conflict, a broken upload, two visitors, the keyboard."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

from PIL import Image, ImageDraw

from tests.web.conftest import Visitor


def test_a_newcomer_finds_a_paper_runs_it_and_sees_the_difference(visitor: Visitor, tmp_path: Path) -> None:
    """Search, *Run*, *Run*, drag the line. The steps are cut to two, for time."""
    page = visitor.open()
    visitor.search("token merging")
    page.wait_for_function("() => document.querySelectorAll('article.paper').length === 1")
    page.get_by_role("button", name="Run importance_tome").click()
    page.get_by_role("heading", name="ImportanceToMe").wait_for()
    visitor.knobs("importance_tome")
    visitor.fill("Steps", "2")
    visitor.run()
    visitor.status("Done.", timeout=120_000)
    assert page.get_by_text("rms difference").is_visible()
    record = json.loads(next(visitor.served.runs.glob("*-importance_tome/result.json")).read_text())
    assert record["numbers"]["rms_difference"] > 0 and record["steps"] == 2
    line = page.get_by_text(
        "diffolio run importance_tome --model mini-sd --prompt 'a red circle left of a blue star' --seed 0 --steps 2"
    )
    assert line.is_visible() and page.get_by_text("job = Job(load('mini-sd')").is_visible()
    images = page.locator(".pixels img >> visible=true")
    images.first.wait_for()
    assert images.count() >= 2
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download result.json").click()
    with zipfile.ZipFile(coming.value.path()) as packed:
        assert {"result.json", "baseline-0.png", "importance-tome-0.png"} <= set(packed.namelist())
        left, right = (Image.open(io.BytesIO(packed.read(name))) for name in ("baseline-0.png", "importance-tome-0.png"))
        assert left.size == right.size and left.tobytes() != right.tobytes()


def test_two_visitors_one_cancels(browser, served) -> None:  # type: ignore[no-untyped-def]
    """The second waits and sees for whom; what is cancelled leaves nothing."""
    first, second = Visitor(browser, served), Visitor(browser, served)
    first.open("?method=importance_tome")
    second.open("?method=importance_tome")
    for visitor in (first, second):
        visitor.knobs("importance_tome")
    before = first.runs()
    first.fill("Steps", "400")
    first.run()
    first.status("of 800", timeout=120_000)
    second.fill("Steps", "2")
    second.fill("Seed", "5")
    second.run()
    second.status("1 before this one")
    second.status("importance_tome, step")
    first.page.get_by_role("button", name="Cancel").click()
    first.status("Cancelled")
    second.status("Done.", timeout=120_000)
    made = second.runs() - before
    assert len(made) == 1 and json.loads((served.runs / made.pop() / "result.json").read_text())["seed"] == 5
    for visitor in (first, second):
        visitor.close()
        assert visitor.trouble == []


def test_wrong_fields_are_said_beside_them(visitor: Visitor) -> None:
    page = visitor.open("?method=fouriscale")
    before = visitor.runs()
    visitor.knobs("fouriscale")
    visitor.fill("Prompt", "")
    visitor.fill("base", "many")
    visitor.run()
    visitor.status("Nothing was run")
    assert page.get_by_text("say what the picture should show").is_visible()
    assert page.get_by_text("base='many' cannot be read as int").is_visible()
    visitor.fill("Prompt", "a green tree")
    visitor.fill("base", "")
    visitor.panel.get_by_label("number input for start").fill("0.9")
    visitor.run()
    page.get_by_text("start=0.9 is after stop=0.6").wait_for(timeout=120_000)
    assert not page.get_by_text("say what the picture should show").is_visible()
    assert visitor.runs() == before


def test_a_broken_upload(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open("?method=spdinv")
    visitor.knobs("spdinv")
    broken = tmp_path / "holiday.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nno picture at all")
    chooser = page.locator("[role=tabpanel] >> visible=true").locator("input[type=file]").first
    chooser.set_input_files(broken)
    page.get_by_text("the picture cannot be read to its end").wait_for()
    huge = tmp_path / "huge.png"
    Image.new("1", (8000, 4000)).save(huge)
    page.get_by_label(re.compile("Remove this file|Clear")).first.click()
    page.get_by_text("the picture cannot be read to its end").wait_for(state="hidden")
    chooser.set_input_files(huge)
    page.get_by_text("8000x4000 pixels, more than 24 million").wait_for()


def test_a_mask_is_painted_on_an_upload(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.open("?method=spdinv")
    picture = Image.new("RGB", (64, 64), (230, 235, 225))
    ImageDraw.Draw(picture).ellipse((18, 18, 46, 46), fill=(200, 20, 30))
    picture.save(tmp_path / "circle.png")
    before = visitor.runs()
    visitor.knobs("spdinv")
    page.locator("[role=tabpanel] >> visible=true").locator("input[type=file]").first.set_input_files(tmp_path / "circle.png")
    canvas = page.locator("#painter canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(800)
    box = canvas.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(middle[0] - 40, middle[1])
    page.mouse.down()
    page.mouse.move(middle[0] + 40, middle[1], steps=12)
    page.mouse.up()
    page.wait_for_timeout(400)
    visitor.fill("Prompt", "a red circle")
    visitor.fill("Target prompt", "a blue circle")
    visitor.fill("Steps", "2")
    visitor.fill("rounds", "1")
    visitor.run()
    visitor.status("Done.", timeout=120_000)
    folder = visitor.served.runs / (visitor.runs() - before).pop()
    mask = Image.open(folder / "mask.png")
    share = sum(value > 127 for value in mask.convert("L").tobytes()) / (64 * 64)
    assert mask.size == (64, 64) and 0.001 < share < 0.5 and mask.convert("L").getpixel((32, 32)) > 127
    record = json.loads((folder / "result.json").read_text())
    assert record["inputs"] == {"image": "picture.png", "mask": "mask.png"} and record["target"] == "a blue circle"
    assert page.get_by_text("--mask").first.is_visible()


def test_a_conflict_is_greyed_out_and_two_are_stacked(visitor: Visitor) -> None:
    page = visitor.open()
    visitor.tab("Stack")
    assert page.get_by_role("button", name="Run the stack").is_disabled()
    page.locator("#pick-fouriscale input").check()
    page.get_by_text("not with fouriscale: both change the guidance rows").wait_for()
    assert page.locator("#pick-prss input").is_disabled()
    page.locator("#pick-importance_tome input").check()
    page.get_by_role("button", name="Run fouriscale + importance_tome").wait_for()
    page.get_by_role("button", name="Knobs of importance_tome").wait_for()
    visitor.fill("Steps", "2")
    page.get_by_role("button", name="Guidance and size").locator("visible=true").click()
    visitor.fill("Size", "64x64")
    visitor.run()
    visitor.status("Done.", timeout=120_000)
    assert page.get_by_text("diffolio run fouriscale+importance_tome").is_visible()
    assert page.get_by_text("within the trained").is_visible()  # what Diffolio warned of is said
    page.locator("#pick-fouriscale input").uncheck()
    page.wait_for_function("() => !document.querySelector('#pick-prss input').disabled")


def test_a_past_run_again_gives_the_same_bytes(visitor: Visitor) -> None:
    page = visitor.open()
    before = visitor.runs()
    visitor.tab("History")
    page.get_by_role("button", name="Show 2").first.wait_for()
    again = page.locator("[data-act=again][data-run*=importance_tome]").last
    again.click()
    page.get_by_text("The same bytes as before in all").wait_for(timeout=120_000)
    assert len(visitor.runs() - before) == 1


def test_by_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.open()

    def tab_to(script: str, most: int = 60) -> None:
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate(f"(({script})(document.activeElement))"):
                return
        raise AssertionError(f"the keyboard does not reach {script}")

    tab_to("e => e.closest('#q') !== null")
    page.keyboard.type("token merging")
    page.wait_for_function("() => document.querySelectorAll('article.paper').length === 1")
    tab_to("e => e.dataset.run === 'importance_tome'")
    outline = page.evaluate(
        "(({outlineStyle, outlineWidth}) => [outlineStyle, parseFloat(outlineWidth)])(getComputedStyle(document.activeElement))"
    )
    assert outline[0] != "none" and outline[1] >= 2
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="ImportanceToMe").wait_for()
    visitor.knobs("importance_tome")
    tab_to("e => e.getAttribute('aria-label') === 'Steps'")
    page.keyboard.press("Control+a")
    page.keyboard.type("2")
    tab_to("e => e.matches('.run-button')")
    page.keyboard.press("Enter")
    visitor.status("Done.", timeout=120_000)
