"""Summaries from any OpenAI-compatible endpoint: asked with a schema, held to it whatever the server does, checked, counted.

One paper's failure is that paper's failure: it is reported, nothing is stored for it, and the others go on.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from diffolio.errors import BadInput, DiffolioError, Offline, SourceError
from diffolio.papers.summaries import schema
from diffolio.papers.summaries.check import check
from diffolio.papers.summaries.report import Report
from diffolio.papers.summaries.source import Source
from diffolio.papers.summaries.summary import Summary

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 2_000_000  # of one answer
TRIES = 4  # of one request that is turned away with 429 or 5xx
LONGEST_WAIT = 120.0  # seconds that one Retry-After may ask for
PARALLEL = 16


@dataclass(frozen=True)
class Outcome:
    """What came of one paper: a summary with its check, or the reason why there is none. ``key`` is the cache key.

    Tokens are those that the server reports, over all requests for this paper.
    """

    id: str
    key: str
    summary: Summary | None = None
    report: Report | None = None
    error: str | None = None
    repaired: bool = False
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


@dataclass
class _Talk:
    """One paper's requests so far."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    repaired: bool = False
    started: float = field(default_factory=time.monotonic)


def summarize_endpoint(
    records: Iterable[Any],
    endpoint: str,
    model: str,
    *,
    language: str = "en",
    parallel: int = 4,
    timeout: float = 120.0,
    api_key: str | None = None,
    done: Container[str] = frozenset(),
    max_tokens: int = 1500,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Outcome]:
    """Summarise ``records`` (anything with a Record's fields), at most ``parallel`` at once, yielding each as it is ready.

    ``endpoint``: the server's base address (``http://localhost:11434``), its ``/v1``, or the whole chat completions address.
    The key comes from ``api_key``, DIFFOLIO_API_KEY or OPENAI_API_KEY, in this order. Papers whose cache key is in ``done``
    are skipped, which is how a batch resumes. Raises Offline when DIFFOLIO_OFFLINE=1 and the endpoint is not this machine,
    BadInput for an address, model or number that cannot be; never for a single paper.
    """
    url = _address(endpoint)
    if not model.strip():
        raise BadInput("no model was named; give the name that the endpoint knows it by, as in --model llama3.1")
    if not 1 <= parallel <= PARALLEL:
        raise BadInput(f"parallel is {parallel}; 1 to {PARALLEL} requests can run at once")
    key = api_key or os.environ.get("DIFFOLIO_API_KEY") or os.environ.get("OPENAI_API_KEY")
    return _run(records, url, model, language, parallel, timeout, key, done, max_tokens, sleep)


def _address(endpoint: str) -> str:
    parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{endpoint!r} is not the address of an endpoint; give one like http://localhost:11434/v1")
    if os.environ.get("DIFFOLIO_OFFLINE") == "1" and not is_local(parts.hostname):
        raise Offline(f"DIFFOLIO_OFFLINE=1 forbids asking {parts.hostname}; use an endpoint on this machine, or unset it")
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = f"{path or '/v1'}/chat/completions"
    return parts._replace(path=path, query=parts.query, fragment="").geturl()


def is_local(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


def _run(
    records: Iterable[Any], url: str, model: str, language: str, parallel: int, timeout: float, key: str | None,
    done: Container[str], max_tokens: int, sleep: Callable[[float], None],
) -> Iterator[Outcome]:  # fmt: skip
    import httpx

    headers = {"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    limits = httpx.Timeout(timeout, connect=min(timeout, 15.0))
    # The environment's proxies are for the network; a local server is asked directly. Redirects could leave this machine.
    local = is_local(urlsplit(url).hostname or "")
    with (
        httpx.Client(headers=headers, timeout=limits, follow_redirects=False, trust_env=not local) as client,
        ThreadPoolExecutor(parallel, thread_name_prefix="summarize") as pool,
    ):
        asker = _Asker(client, url, model, language, max_tokens, timeout, sleep)
        waiting: set[Future[Outcome]] = set()
        try:
            for record in records:
                source = Source.of(record)
                cache_key = schema.cache_key(source, model, language)
                if cache_key in done:
                    continue
                waiting.add(pool.submit(asker.outcome, source, cache_key))
                if len(waiting) >= 2 * parallel:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ready)
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        finally:
            for future in waiting:
                future.cancel()


class _Asker:
    """The requests for one paper, from the first question to a summary or a reason."""

    def __init__(
        self,
        client: httpx.Client,
        url: str,
        model: str,
        language: str,
        max_tokens: int,
        timeout: float,
        sleep: Callable[[float], None],
    ) -> None:
        self.client, self.url, self.model, self.language = client, url, model, language
        self.max_tokens, self.timeout, self.sleep = max_tokens, timeout, sleep
        self.takes_schema = True  # until the server says no

    def outcome(self, source: Source, key: str) -> Outcome:
        talk = _Talk()
        summary, report, error = None, None, None
        try:
            if not (source.abstract or "").strip():
                raise BadInput("the record has no abstract to summarise; pull it first")
            summary = self._summary(source, talk)
            report = check(summary, source)
        except DiffolioError as reason:
            error = str(reason)
        except Exception as reason:  # one paper's surprise must not stop the others
            summary, error = None, f"unexpected {type(reason).__name__}: {reason}"
        seconds = time.monotonic() - talk.started
        return Outcome(
            source.id, key, summary, report, error, talk.repaired, talk.requests, talk.tokens_in, talk.tokens_out, seconds
        )

    def _summary(self, source: Source, talk: _Talk) -> Summary:
        conversation = schema.messages(source, self.language)
        answer = self._ask(conversation, talk)
        summary, errors = schema.read(answer, source, self.model, self.language)
        if summary is None:
            talk.repaired = True
            answer = self._ask([*conversation, *schema.repair(answer, errors)], talk)
            summary, errors = schema.read(answer, source, self.model, self.language)
        if summary is None:
            raise SourceError("the answer cannot be used, also after one repair: " + "; ".join(errors[:3]))
        return summary

    def _ask(self, conversation: list[dict[str, str]], talk: _Talk) -> str:
        """The text of one answer; SourceError when there is none."""
        reply = self._post(self._body(conversation), talk)
        usage = reply.get("usage") if isinstance(reply.get("usage"), dict) else {}
        talk.tokens_in += _count(usage, "prompt_tokens")
        talk.tokens_out += _count(usage, "completion_tokens")
        try:
            choice = reply["choices"][0]
            message = choice["message"]
            content, refusal = message.get("content"), message.get("refusal")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise SourceError("the endpoint's reply has no choices[0].message; is it a chat completions address?") from error
        if refusal:
            raise SourceError(f"the model refused: {str(refusal)[:200]}")
        if choice.get("finish_reason") == "length":
            raise SourceError(f"the answer was cut off at {self.max_tokens} tokens; allow more")
        if not isinstance(content, str) or not content.strip():
            raise SourceError("the model gave an empty answer")
        return content

    def _body(self, conversation: list[dict[str, str]]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": conversation,
            "temperature": 0,
            "seed": 0,
            "max_tokens": self.max_tokens,
            "stream": False,
        }
        if self.takes_schema:
            named = {"name": "paper_summary", "strict": True, "schema": schema.SCHEMA}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return body

    def _post(self, body: dict[str, Any], talk: _Talk) -> dict[str, Any]:
        wait_for = 1.0
        for attempt in range(1, TRIES + 1):
            talk.requests += 1
            status, after, reply, text = self._send(body)
            if status == 200:
                if not isinstance(reply, dict):
                    raise SourceError(f"the endpoint sent no JSON object: {text[:120]!r}")
                return reply
            said = text[:200].replace("\n", " ")
            if status in (400, 422) and "response_format" in body and ("response_format" in text or "json_schema" in text):
                self.takes_schema = False  # the schema is in the prompt as well, and the answer is validated in any case
                body = {name: value for name, value in body.items() if name != "response_format"}
                continue
            if status not in (408, 429, 500, 502, 503, 504):
                raise SourceError(f"the endpoint answered {status}: {said!r}{_advice(status)}")
            if attempt < TRIES:
                self.sleep(min(LONGEST_WAIT, max(wait_for, after)))
                wait_for *= 3
        raise SourceError(f"the endpoint answered {status} {TRIES} times ({said!r}); try again later")

    def _send(self, body: dict[str, Any]) -> tuple[int, float, Any, str]:
        """(status, Retry-After in seconds, the JSON, the text) of one request, bounded in bytes and in time."""
        import json

        import httpx

        begun, chunks, size = time.monotonic(), [], 0
        try:
            with self.client.stream("POST", self.url, json=body) as response:
                for chunk in response.iter_bytes():
                    size += len(chunk)
                    chunks.append(chunk)
                    if size > MAX_BYTES:
                        raise SourceError(f"the endpoint sent more than {MAX_BYTES:,} bytes for one summary")
                    if time.monotonic() - begun > self.timeout:
                        raise SourceError(f"the endpoint took longer than {self.timeout:g} s; allow more, or use a faster model")
        except httpx.TimeoutException as error:
            raise SourceError(f"the endpoint took longer than {self.timeout:g} s; allow more, or use a faster model") from error
        except httpx.HTTPError as error:
            raise SourceError(f"the endpoint {self.url} cannot be reached ({error}); is the server running?") from error
        text = b"".join(chunks).decode("utf-8", "replace")
        try:
            reply = json.loads(text)
        except (ValueError, RecursionError):
            reply = None
        return response.status_code, _seconds(response.headers.get("Retry-After")), reply, text


def _count(usage: Any, name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


def _seconds(value: str | None) -> float:
    try:
        return max(0.0, float(value or 0))
    except ValueError:
        return 0.0


def _advice(status: int) -> str:
    if status in (401, 403):
        return "; set DIFFOLIO_API_KEY to a key that it accepts"
    return "; is the model's name right, and the address a chat completions one?" if status == 404 else ""
