"""``diffolio web``: the page."""

from __future__ import annotations

from pathlib import Path

import typer


def web(host: str, port: int, auth: str | None, runs: Path, library: Path | None, models: tuple[str, ...], show: bool) -> None:
    """Serve the page until interrupted."""
    from diffolio.web.server import serve
    from diffolio.web.settings import Settings, read_auth

    settings = Settings(host, port, read_auth(auth, host), runs, library, models)
    serve(settings, show=show, tell=typer.echo)
