"""The runs that visitors asked for: one at a time, in the order they came, in a process of their own."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffolio.errors import BadInput

PATIENCE = 8.0  # seconds that a cancelled run has to stop by itself
OVER = ("done", "failed", "cancelled")


@dataclass
class Job:
    """One run. ``state``: waiting, loading, running, done, failed or cancelled; ``total`` steps, None where not known beforehand."""

    id: str
    title: str
    request: dict[str, Any]
    part: Path  # where it is made
    folder: Path  # where it lies when it is done
    total: int | None = None
    state: str = "waiting"
    done: int = 0
    error: str = ""
    kind: str = ""
    seconds: float = 0.0
    wanted: bool = True
    notes: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        return self.state in OVER


class Jobs:
    """The queue and the worker. Nothing is started before the first run."""

    def __init__(
        self, runs: Path, most_waiting: int = 20, command: tuple[str, ...] = ("-P", "-m", "diffolio.web.worker")
    ) -> None:
        self.runs, self.most_waiting, self.command = runs, most_waiting, command
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._worker: subprocess.Popen[str] | None = None
        self._numbers = itertools.count(1)
        self.known: dict[str, Job] = {}
        atexit.register(self.close)

    def room(self, name: str) -> tuple[str, Path, Path]:
        """A number for a run, the folder in which it is made, and the one that it gets when it is done."""
        id = f"{next(self._numbers)}"
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{name.replace('+', '-')}"
        part = self.runs / f".{stem}-{os.getpid()}-{id}.part"
        try:
            part.mkdir(parents=True)
        except OSError as error:
            raise BadInput(
                f"cannot write to the runs folder {self.runs} ({error.strerror}): make room, or start with another --runs"
            ) from error
        return id, part, self.runs / stem

    def discard(self, part: Path) -> None:
        """Forget a room in which nothing will be made."""
        shutil.rmtree(part, ignore_errors=True)

    def submit(self, job: Job) -> Job:
        """Put a run into the queue; BadInput if it is full."""
        with self._changed:
            if len(self._waiting) >= self.most_waiting:
                raise BadInput(f"{len(self._waiting)} runs are waiting already: try again in a while")
            self._waiting.append(job)
            self.known = {id: other for id, other in self.known.items() if not other.over} | {job.id: job}
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="diffolio-runs", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return job

    def cancel(self, job: Job) -> None:
        """Take a run out of the queue, or stop it."""
        with self._changed:
            job.wanted = False
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, "cancelled")
            elif job is self._current and not job.over:
                with contextlib.suppress(OSError, ValueError):
                    self._say({"cancel": job.id})
                threading.Timer(PATIENCE, self._kill_if_running, (job,)).start()

    def ahead(self, job: Job) -> list[Job]:
        """The runs that come before this one, the running one first."""
        with self._changed:
            if job not in self._waiting:
                return []
            before = list(itertools.takewhile(lambda other: other is not job, self._waiting))
            return ([self._current] if self._current else []) + before

    def all(self) -> list[Job]:
        """The running one, then the waiting ones."""
        with self._changed:
            return ([self._current] if self._current else []) + list(self._waiting)

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None and self._worker.poll() is None:
            self._worker.kill()
            self._worker.wait()

    # The thread of the queue

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                job = self._current = self._waiting.popleft()
            started = time.perf_counter()
            try:
                self._run(job)
            except Exception as error:  # the queue must outlive whatever one run brings
                self._end(job, "failed", f"the run ended ({type(error).__name__}: {error})")
            job.seconds = time.perf_counter() - started
            with self._changed:
                self._current = None

    def _run(self, job: Job) -> None:
        worker = self._ready()
        self._say({"id": job.id, "request": job.request})
        assert worker.stdout is not None
        for line in worker.stdout:
            told = json.loads(line)
            if told["id"] != job.id:
                continue
            event = told["event"]
            if event == "loading":
                job.state = "loading"
            elif event == "step":
                job.state, job.done = "running", told["done"]
            elif event == "done":
                job.notes = tuple(told.get("notes", ()))
                self._keep(job)
                return
            else:
                self._end(job, event, told.get("error", ""), told.get("kind", ""))
                return
        code = worker.wait()
        if job.wanted:
            killed = " (perhaps there was not enough memory)" if code in (-9, 137) else ""
            self._end(job, "failed", f"the run was ended from outside, code {code}{killed}; the page goes on")
        else:
            self._end(job, "cancelled")

    def _keep(self, job: Job) -> None:
        folder = job.folder
        for n in itertools.count(2):
            if not folder.exists():
                break
            folder = job.folder.with_name(f"{job.folder.name}-{n}")
        try:
            job.part.rename(folder)
        except OSError as error:
            self._end(job, "failed", f"the pictures cannot be kept in {self.runs} ({error.strerror})")
            return
        job.folder, job.state = folder, "done"

    def _end(self, job: Job, state: str, error: str = "", kind: str = "") -> None:
        shutil.rmtree(job.part, ignore_errors=True)
        job.error, job.kind = error, kind
        job.state = state

    def _ready(self) -> subprocess.Popen[str]:
        if self._worker is None or self._worker.poll() is not None:
            self._worker = subprocess.Popen(
                [sys.executable, *self.command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
        return self._worker

    def _say(self, told: dict[str, Any]) -> None:
        assert self._worker is not None and self._worker.stdin is not None
        self._worker.stdin.write(json.dumps(told) + "\n")
        self._worker.stdin.flush()

    def _kill_if_running(self, job: Job) -> None:
        if job is self._current and not job.over and self._worker is not None:
            self._worker.kill()
