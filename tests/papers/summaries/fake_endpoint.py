"""A chat completions server of our own that answers as it is told: well, wrongly, slowly, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {
    "tldr": "TideNet denoises video in two stages, up to 2.7 dB better and 8 times faster.",
    "problem": {
        "text": "Large motion makes video denoising hard.",
        "quote": "Video denoising remains hard when motion is large.",
    },
    "method": [
        {"text": "A wave-aware diffusion model in two stages.", "quote": "a wave-aware diffusion model that runs in two stages"}
    ],
    "results": [{"text": "It gains up to 2.7 dB.", "quote": "by up to 2.7 dB in PSNR"}],
    "limits": [],
    "keywords": [{"text": "video denoising", "quote": "Video denoising"}],
    "code": "https://github.com/tide-lab/TideNet",
}

Answer = tuple[int, dict[str, str], str]  # status, headers, body


def said(content: Any, **message: Any) -> Answer:
    """A completed chat whose message is ``content`` (an object becomes JSON)."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    choice = {"message": {"role": "assistant", "content": text, **message}, "finish_reason": "stop"}
    return 200, {}, json.dumps({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 20}})


class FakeEndpoint:
    """``script(request body, n)`` gives the n-th answer. What arrived is kept in ``bodies`` and ``headers``."""

    def __init__(self, script: Callable[[dict[str, Any], int], Answer | float]) -> None:
        self.script, self.bodies, self.headers, self.paths = script, [], [], []
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            n = len(self.bodies)
            self.bodies.append(body)
            self.headers.append(dict(handler.headers))
            self.paths.append(handler.path)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            told = self.script(body, n)
            while isinstance(told, float):  # a stall of so many seconds, then a good answer
                time.sleep(told)
                told = said(GOOD)
            status, headers, text = told
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(text.encode())))
            handler.end_headers()
            handler.wfile.write(text.encode())
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client gave up waiting, as it should
        finally:
            with self.lock:
                self.now -= 1


@contextmanager
def serving(script: Callable[[dict[str, Any], int], Answer | float]) -> Iterator[tuple[FakeEndpoint, str]]:
    """The server and its address."""
    fake = FakeEndpoint(script)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield fake, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
