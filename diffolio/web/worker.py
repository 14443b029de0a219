"""The process in which methods run, apart from the page: what crashes here takes nothing else down.

It reads one JSON object a line on standard input, {"id", "request"} or {"cancel": id}, and writes {"id", "event", ...}.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffolio.errors import DiffolioError

Tell = Callable[..., None]


class Cancelled(BaseException):
    """The visitor wants no more of this run. Not an Exception, so that no method takes it for its own failure."""


class Loaded:
    """The model that was used last; dropped after a run that did not end well."""

    def __init__(self) -> None:
        self.name, self.model = "", None

    def __call__(self, name: str) -> Any:
        from diffolio.models import load

        if name != self.name:
            self.drop()
            self.model, self.name = load(name), name
        return self.model

    def drop(self) -> None:
        self.name, self.model = "", None


def main() -> None:
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not get between the messages
    waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
    stopped: set[str] = set()
    lock = threading.Lock()

    def read() -> None:
        for line in sys.stdin:
            told = json.loads(line)
            stopped.add(told["cancel"]) if "cancel" in told else waiting.put(told)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    loaded = Loaded()
    while (task := waiting.get()) is not None:
        id = task["id"]

        def tell(event: str, id: str = id, **told: Any) -> None:
            with lock:
                out.write(json.dumps({"id": id, "event": event, **told}) + "\n")
                out.flush()

        serve(task["request"], loaded, tell, lambda id=id: id in stopped)


def serve(request: dict[str, Any], loaded: Loaded, tell: Tell, stopped: Callable[[], bool]) -> None:
    """One run, and what became of it."""
    try:
        tell("loading")
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", UserWarning)
            run(request, loaded, tell, stopped)
        tell("done", notes=_notes(heard))
        return
    except Cancelled:
        tell("cancelled")
    except DiffolioError as error:
        tell("failed", error=str(error), kind=type(error).__name__)
    except MemoryError:
        tell("failed", error="there is not enough memory for this: take fewer or smaller pictures, or a smaller model", kind="")
    except Exception as error:
        traceback.print_exc()
        told = str(error).strip().splitlines()
        tell("failed", error=f"the run failed: {told[0] if told else type(error).__name__}", kind="")
    loaded.drop()


def _notes(heard: list[warnings.WarningMessage]) -> list[str]:
    """What Diffolio warned of, each once: its own warnings say what was probably not meant so."""
    package = str(Path(__file__).parents[1])
    own = [told for told in heard if type(told.message).__module__.startswith("diffolio") or told.filename.startswith(package)]
    return list(dict.fromkeys(str(told.message) for told in own))[:10]


def run(request: dict[str, Any], loaded: Loaded, tell: Tell, stopped: Callable[[], bool]) -> None:
    from diffolio.cli.running import Request
    from diffolio.cli.running import run as run_request

    files = {name: Path(request[name]) for name in ("image", "mask", "out") if request.get(name)}
    asked = Request(**{**request, **files, "inputs": tuple(request.get("inputs", ()))})
    run_request(asked, loader=loaded, around=lambda model: watched(model, tell, stopped))


@contextmanager
def watched(model: Any, tell: Tell, stopped: Callable[[], bool]) -> Iterator[None]:
    """Tell of every step of the network and end the run where it is no longer wanted.

    A step is a call with another timestep than the last one had, whatever asks the network: sampling, inversion, a search.
    """
    last: Any = None
    steps = 0

    def before(module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal last, steps
        if stopped():
            raise Cancelled
        given = named.get("timestep", args[1] if len(args) > 1 else None)
        now = given.flatten()[0].item() if hasattr(given, "flatten") else given
        if now != last or now is None:
            last, steps = now, steps + 1
            tell("step", done=steps)

    tell("step", done=0)
    with contextlib.ExitStack() as held:
        if getattr(model, "denoiser", None) is not None:
            held.callback(model.denoiser.register_forward_pre_hook(before, with_kwargs=True).remove)
        yield
        if stopped():
            raise Cancelled


if __name__ == "__main__":
    main()
