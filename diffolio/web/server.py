"""The server of the page: what must hold before it starts, the application, and serving until interrupted."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import webbrowser
from dataclasses import replace
from typing import Any

from diffolio.errors import Unsupported
from diffolio.web import look, security
from diffolio.web.jobs import Jobs
from diffolio.web.settings import Settings, check_port, check_runs


def quiet() -> None:
    """Before Gradio is imported: no word goes to anybody, and what visitors upload lies in a folder that is gone afterwards."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["DO_NOT_TRACK"] = "1"
    if "GRADIO_TEMP_DIR" not in os.environ:
        place = tempfile.mkdtemp(prefix="diffolio-web-")
        os.environ["GRADIO_TEMP_DIR"] = place
        atexit.register(shutil.rmtree, place, ignore_errors=True)


def application(settings: Settings, jobs: Jobs) -> Any:
    """The page as an ASGI application."""
    import gradio as gr
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import FileResponse, Response
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from diffolio.web import evidence
    from diffolio.web.page import build

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/evidence/small/{name}")
    def small(name: str) -> Response:
        path = evidence.picture(name)
        if path is None:
            raise HTTPException(404)
        return Response(evidence.small(path, path.stat().st_mtime), media_type="image/webp")

    @app.get("/evidence/{name}")
    def whole(name: str) -> Response:
        path = evidence.picture(name)
        if path is None:
            raise HTTPException(404)
        return FileResponse(path)

    app = gr.mount_gradio_app(
        app, build(settings, jobs), path="/", server_name=settings.host, server_port=settings.port, auth=settings.auth,
        allowed_paths=[str(settings.runs)], show_error=False, max_file_size=settings.max_bytes * 2, ssr_mode=False, footer_links=[],
        run_history=False, enable_monitoring=False, theme=look.theme(), css=look.styles(), head=look.head(), pwa=False, mcp_server=False,
    )  # fmt: skip
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=security.hosts(settings.host, settings.private), www_redirect=False)
    app.add_middleware(security.Guard, max_bytes=settings.max_bytes * 3)
    return app


def prepared(settings: Settings) -> Settings:
    """The settings with what must be there before the page is: a port and a runs folder."""
    check_port(settings.host, settings.port)
    return replace(settings, runs=check_runs(settings.runs))


def serve(settings: Settings, *, show: bool = False, tell: Any = print) -> None:
    """Serve the page until interrupted."""
    settings = prepared(settings)
    quiet()
    try:
        import gradio  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise Unsupported("the page needs Gradio: pip install 'diffolio[web]'") from error
    jobs = Jobs(settings.runs, settings.most_waiting)

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                tell(f"Diffolio is at {settings.address}  (runs go to {settings.runs}; stop with Ctrl-C)")
                if show:
                    webbrowser.open(settings.address)

    config = uvicorn.Config(
        application(settings, jobs),
        host=settings.host,
        port=settings.port,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    try:
        Server(config).run()
    finally:
        jobs.close()
