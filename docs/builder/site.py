"""The site's configuration and the run of Zensical."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from docs.builder import links, models
from docs.builder import reference as api
from docs.builder.content import ROOT, families, family_title, of_family

SHIM = "https://unpkg.com/iframe-worker/shim"
OWN_SHIM = "assets/worker.js"
MAIN = {
    "Start": ["index.md", "idea.md", "your-own-checkpoint.md", "combining.md", "training.md", "web.md", "digest.md", "limits.md"],
    "Maintain": ["adding-a-paper.md", "words-and-house.md", "contributing.md", "readme.md"],
}


def nav(with_reference: bool) -> list[Any]:
    """The order of the pages. Hand-written pages that are not named here follow under Start."""
    from docs.builder.sources import hand_written

    own = [path.name for path in hand_written() if path.name != "evidence.md"]
    named = {page for pages in MAIN.values() for page in pages}
    methods: list[Any] = ["methods/index.md"]
    for family in families():
        pages = [{entry.title: entry.page} for entry in of_family(family)]
        methods += [{family_title(family): pages}] if pages else []
    return [
        {"Start": [page for page in MAIN["Start"] if page in own] + sorted(set(own) - named)},
        {"Methods": methods},
        {"Evidence": ["evidence.md", "gallery.md"]},
        {"Models": ["models/index.md", *({name: f"models/{name}.md"} for name in models.names())]},
        {"Maintain": MAIN["Maintain"]},
        *([{"Reference": ["reference/index.md", *({f"diffolio.{floor}": f"reference/{floor}.md"} for floor in api.floors())]}]
          if with_reference else []),
    ]  # fmt: skip


def toml(value: Any) -> str:
    """A value as TOML writes it inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(one) for one in value) + "]"
    return json.dumps(value)


def configuration(with_reference: bool) -> str:
    """``zensical.toml``: no fonts, no script and no style from another host; links that work from a folder on disk."""
    return f"""[project]
site_name = "Diffolio"
site_description = "A digest of diffusion papers that you can run."
docs_dir = "pages"
site_dir = "site"
use_directory_urls = false
extra_css = ["assets/style.css"]
nav = {toml(nav(with_reference))}

[project.theme]
language = "en"
font = false
features = ["navigation.tabs", "navigation.indexes", "navigation.top", "content.code.copy", "search.highlight", "toc.follow"]

[[project.theme.palette]]
media = "(prefers-color-scheme)"
toggle.icon = "lucide/sun-moon"
toggle.name = "Switch to light"

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Switch to dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Follow the system"

[project.plugins.offline]
enabled = true

[project.plugins.mkdocstrings.handlers.python]
paths = [{json.dumps(str(ROOT))}]
inventories = []

[project.plugins.mkdocstrings.handlers.python.options]
docstring_style = "google"
docstring_options = {{ warnings = false }}
members_order = "source"
show_root_heading = true
show_root_full_path = true
show_source = true
show_bases = true
show_if_no_docstring = false
show_signature_annotations = true
separate_signature = true
heading_level = 2
"""


def build(folder: Path, reference: bool = True) -> list[str]:
    """Run Zensical on ``folder/pages``, to ``folder/site``; returns what is wrong with the site, nothing if all is well."""
    site = folder / "site"
    (folder / "zensical.toml").write_text(configuration(reference), encoding="utf-8")
    if site.exists():
        shutil.rmtree(site)
    command = [
        sys.executable,
        "-c",
        "from zensical.main import cli; cli()",
        "build",
        "--strict",
        "--config-file",
        "zensical.toml",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        return [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    stand_alone(site)
    return links.problems(site)


def stand_alone(site: Path) -> None:
    """Searching from disk needs a stand-in for workers; the theme would fetch one from another host."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        if SHIM in text:
            path.write_text(text.replace(SHIM, os.path.relpath(site / OWN_SHIM, path.parent)), encoding="utf-8")
