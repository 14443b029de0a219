"""Every code block of the README and of the hand-written pages is run as it stands, in an empty folder, without a network.

One thing is shortened: pictures are sampled in at most two steps. What cannot run here says so in its first line (``needs-network``,
``needs-gpu``, ``needs-files``, ``takes-minutes``); of those the command line is parsed, and a test counts that they stay few.
"""

import re
import shlex

import pytest

from diffolio import registry
from tests.docs.conftest import parses
from tests.docs.markdown import PAGES, ROOT, blocks

MARKS = {"needs-network", "needs-gpu", "needs-files", "takes-minutes"}
LANGUAGES = {"bash", "console", "python", "text"}
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs(page, desk, shell):
    place_files(desk, shell)
    names = {"__name__": "__main__"}
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if block.mark in MARKS:
            for line in block.commands:
                assert parses(line), f"{where}: {line}"
        elif block.language == "bash":
            for line in block.commands:
                assert runs(line, shell), f"{where}: {line}"
        elif block.language == "console":
            compare(block.code, shell, where)
        elif block.language == "python" and "title=" not in block.mark:
            exec(compile("\n" * block.line + block.code, str(page), "exec"), names)


def place_files(folder, shell):
    """What the pages say that a user has: a digest that a model wrote, and a folder of digests."""
    written = ROOT / "tests" / "papers" / "fixtures" / "blog.md"
    (folder / "digests").mkdir()
    for place in (folder / "blog-digest.md", folder / "digests" / "blog.md"):
        place.write_bytes(written.read_bytes())
    assert shell("diffolio papers export --out digests/catalogue.jsonl")[0] == 0


def runs(line, shell):
    """Whether a line works. Of what sets a machine up (make, pip) only the target's name is looked up."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        return set(words[1:]) <= TARGETS
    if words[:2] == ["pip", "install"]:
        return True
    assert words[0] == "diffolio", f"{line}: pages show diffolio, make and pip install only"
    status, said = shell(line)
    found_something = status == 1 and words[1:3] == ["papers", "check"]
    assert status == 0 or found_something, said
    return True


def compare(code, shell, where):
    """After ``$ command`` come lines that it prints, in this order; ``…`` stands for anything, also inside a line."""
    for part in re.split(r"^\$ ", code, flags=re.M)[1:]:
        line, *shown = part.strip().splitlines()
        _, said = shell(line)
        place = 0
        for wanted in (one.strip() for one in shown):
            if wanted == "…":
                continue
            pattern = r"\s+".join(re.escape(word).replace("…", ".*?") for word in wanted.split())
            match = re.compile(pattern).search(said, place)
            assert match, f"{where}: `{line}` does not print {wanted!r}; it prints\n{said}"
            place = match.end()


def test_few_blocks_cannot_run_here():
    marked = [block for page in PAGES for block in blocks(page) if block.mark in MARKS]
    free = [
        block for page in PAGES for block in blocks(page) if block.language in ("bash", "python", "console") and not block.mark
    ]
    assert len(marked) <= 8, [f"{block.page.name}:{block.line} {block.mark}" for block in marked]
    assert len(free) > 2 * len(marked)


def test_every_block_says_what_it_is():
    for page in PAGES:
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            assert block.language in LANGUAGES, f"{where}: ```{block.language}; give one of {sorted(LANGUAGES)}"
            assert not block.mark or block.mark in MARKS or block.mark.startswith("title="), f"{where}: {block.mark}"


def test_methods_that_pages_name_run():
    named = {
        name
        for page in PAGES
        if page.name != "adding-a-paper.md"
        for block in blocks(page)
        for line in block.commands
        for names in re.findall(r"^(?:\$ )?diffolio (?:run|show) (\S+)", line)
        for name in names.split("+")
    }
    assert len(named) > 3
    assert named - {"fouriscal"} <= set(registry.cards())  # the misspelt one shows what a mistake looks like
