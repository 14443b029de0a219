"""Which Chromium is used, and how it is started."""

from __future__ import annotations

import os
import shutil

FOUND = (
    os.environ.get("DIFFOLIO_CHROMIUM")
    or shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
