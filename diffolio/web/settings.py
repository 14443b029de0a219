"""How the page is served: where it listens, who may enter, where its runs go, and how large an upload may be."""

from __future__ import annotations

import errno
import ipaddress
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from diffolio.errors import BadInput

PORT = 7860
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """``runs`` is the only folder that the page writes to and gives files from; ``models`` are folders that any visitor may choose."""

    host: str = "127.0.0.1"
    port: int = PORT
    auth: tuple[str, str] | None = None
    runs: Path = Path("out")
    library: Path | None = None
    models: tuple[str, ...] = ()
    max_bytes: int = 20 * MEGABYTE
    max_pixels: int = 24_000_000
    most_waiting: int = 20

    @property
    def private(self) -> bool:
        """Only this machine can reach the page."""
        return is_loopback(self.host)

    @property
    def address(self) -> str:
        host = "127.0.0.1" if self.host in ("0.0.0.0", "") else "[::1]" if self.host == "::" else self.host
        return f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_auth(text: str | None, host: str) -> tuple[str, str] | None:
    """``user:password``; BadInput without one where others can reach the page."""
    if text is None:
        if not is_loopback(host):
            raise BadInput(f"--host {host} lets other machines in: give --auth user:password with it")
        return None
    user, colon, password = text.partition(":")
    if not (user and colon and password):
        raise BadInput("--auth: give user:password")
    if len(password) < 8 and not is_loopback(host):
        raise BadInput("--auth: others can reach the page, so give a password of at least 8 characters")
    return user, password


def check_port(host: str, port: int) -> None:
    """BadInput with the next free port where ``port`` cannot be had."""
    if not 0 < port < 65536:
        raise BadInput(f"--port {port}: give a number from 1 to 65535")
    trouble = _bind(host, port)
    if trouble is None:
        return
    if trouble.errno != errno.EADDRINUSE:
        raise BadInput(f"cannot listen on {host}:{port} ({trouble.strerror}): give another --host or --port")
    free = next((p for p in range(port + 1, min(port + 100, 65536)) if _bind(host, p) is None), None)
    advice = f"port {free} is free: --port {free}" if free else "give another with --port"
    raise BadInput(f"port {port} is in use, perhaps by another `diffolio web`; {advice}")


def _bind(host: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((host, port))
            return None
        except OSError as error:
            return error


def check_runs(folder: Path) -> Path:
    """The runs folder, made if it is missing; BadInput if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".try-"):
            pass
    except OSError as error:
        raise BadInput(f"cannot write to the runs folder {folder} ({error.strerror}): name another with --runs") from error
    return folder.resolve()
