"""The README's Python example runs as it stands, and its commands exist."""

import re
from pathlib import Path

from diffolio import registry

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    exec(compile(code.replace("height=128, width=128", "height=128, width=128, steps=3"), "README.md", "exec"), {})


def test_every_command_names_a_method_that_runs():
    named = re.findall(r"^diffolio (?:run|show|claim) (\S+)", README, flags=re.M)
    assert named
    for names in named:
        for name in names.split("+"):
            assert name in registry.cards()


def test_the_table_lists_every_method():
    for name in registry.cards():
        assert f"`{name}`" in README


def test_nothing_is_left_to_fill_in():
    assert not re.findall(r"@[A-Z]+@", README)
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parents[1] / picture).exists()


def test_every_papers_command_exists():
    from diffolio.cli.papers import papers

    known = {command.name or command.callback.__name__ for command in papers.registered_commands}
    known |= {group.name for group in papers.registered_groups}
    named = set(re.findall(r"^(?:\$ )?diffolio papers (\w+)", README, flags=re.M))
    assert len(named) > 8
    assert named <= known, named - known
