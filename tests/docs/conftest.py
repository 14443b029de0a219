"""A desk to run the pages' blocks on: an empty folder, no network, and pictures in two steps."""

import shlex
import sys

import pytest
import typer

from diffolio.cli import main
from diffolio.cli.app import app


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """An empty folder and library, no network, and pictures in two steps."""
    from diffolio.models import Model

    whole = Model.sample

    def short(self, *arguments, steps=25, **named):
        return whole(self, *arguments, steps=min(steps, 2), **named)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIFFOLIO_OFFLINE", "1")
    monkeypatch.setenv("DIFFOLIO_LIBRARY", str(tmp_path / "library.sqlite"))
    monkeypatch.setattr(Model, "sample", short)
    return tmp_path


@pytest.fixture
def shell(monkeypatch, capsys):
    """Run a line of a shell block: (status, what it printed)."""

    def run(line):
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        monkeypatch.setenv("COLUMNS", "200")
        capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        return status, "".join(capsys.readouterr())

    return run


def parses(line):
    """Whether the command line takes a line: its options exist and its values have the right form. Nothing is run."""
    words = shlex.split(line, comments=True)
    assert words[0] == "diffolio"
    command = typer.main.get_command(app)
    context = command.make_context("diffolio", words[1:], resilient_parsing=False)
    while hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return True
