"""The links in an abstract or a comment: found, tidied and sorted into kinds."""

from __future__ import annotations

import re
from itertools import islice

from diffolio.papers.record import Link

_HOSTS = r"github\.com|gitlab\.com|huggingface\.co|hf\.co|bit\.ly|tinyurl\.com|zenodo\.org|youtu\.be"
_URL = re.compile(rf"(?:https?://|(?<![\w@./-])(?:www\.(?=\w)|(?:{_HOSTS})/(?=\w)))[^\s<>\"“”|]+", re.IGNORECASE)
_DOI = re.compile(r"\bdoi(?:\.org/|:\s?|\s)(10\.\d{4,9}/[^\s<>\"“”{}]+)", re.IGNORECASE)
_AGAIN = re.compile(r"(?<=[^/=])(?=https?://)", re.IGNORECASE)
_HOST = re.compile(r"(?:https?://)?([^/?#]*)([^?#]*)", re.IGNORECASE)
_GLUED = re.compile(r"[.,;][A-Z][a-z]*$")  # the next sentence: repo.Our
_LAYERS = 8  # of punctuation around a URL
_MOST = 200  # links of one text
_LONGEST = 2_000  # characters of a URL; longer ones are not addresses

_CODE = (
    "github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "gitee.com", "sourceforge.net", "anonymous.4open.science",
    "gist.github.com", "git.io", "pypi.org",
)  # fmt: skip
_PROJECT = ("github.io", "gitlab.io", "sites.google.com", "pages.dev", "netlify.app", "vercel.app", "notion.site", "webflow.io")
_DEMO = (
    "youtube.com", "youtu.be", "vimeo.com", "bilibili.com", "colab.research.google.com", "replicate.com", "gradio.live",
    "gradio.app", "streamlit.app", "hf.space",
)  # fmt: skip
_DATA = (
    "zenodo.org", "kaggle.com", "figshare.com", "osf.io", "physionet.org", "dataverse.harvard.edu", "data.mendeley.com",
    "ieee-dataport.org", "opendatalab.com",
)  # fmt: skip
_ELSEWHERE = ("arxiv.org", "openreview.net", "creativecommons.org")
_SAID = (
    ("project", re.compile(r"project|web ?page|web ?site|home ?page|\bpage\b|\bsite\b", re.IGNORECASE)),
    ("code", re.compile(r"\bcodes?\b|implementation|repositor|software|toolbox|github", re.IGNORECASE)),
    ("demo", re.compile(r"\bdemos?\b|videos?\b|playground|supplementary", re.IGNORECASE)),
    ("data", re.compile(r"\bdata\b|data ?sets?|benchmark|corpus", re.IGNORECASE)),
)
_BEFORE = 60  # characters before an address that tell what it is


def links_of(abstract: str | None, comments: str | None) -> tuple[Link, ...]:
    """Every link of a paper, each once, those of the abstract first.

    Addresses lose what surrounds them: closing punctuation, TeX escapes, ``.git``, a next sentence glued to them.
    """
    found: dict[str, Link] = {}
    for text, place in ((abstract, "abstract"), (comments, "comments")):
        if not text or not ("/" in text or "www." in text):
            continue
        last = 0
        for start, url in _addresses(text):
            kind = _kind(url, text[max(last, start - _BEFORE) : start])
            last = start + len(url)
            found.setdefault(_same(url), Link(url, kind, place))
    return tuple(found.values())


def _addresses(text: str) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for match in _URL.finditer(text):
        start = match.start()
        parts = [match[0]] if "web.archive.org" in match[0] else _AGAIN.split(match[0])
        for part in parts:
            if len(found) >= _MOST:
                return found
            url = tidy(part) if len(part) <= _LONGEST else ""
            if url:
                found.append((start, url))
            start += len(part)
    for match in islice(_DOI.finditer(text), _MOST):
        if text[max(0, match.start() - 3) : match.start()].endswith(("/", "dx.")):
            continue  # part of an address that was found already
        doi = tidy(f"https://doi.org/{match[1]}")
        if doi:
            found.append((match.start(), doi))
    return sorted(found)


def tidy(url: str) -> str:
    """A URL without what the text around it left on it; empty where nothing but a scheme remains."""
    url = url.split("}{", 1)[0].replace("\\_", "_").replace("\\%", "%").replace("\\#", "#").replace("\\&", "&")
    url = url.replace("\\~{}", "~").replace("\\~", "~").replace("{\\sim}", "~").split("\\", 1)[0]
    url = url.replace("{", "").replace("}", "").split("](", 1)[0]
    for _ in range(_LAYERS):
        before = url
        url = url.rstrip(".,;:!?'’`*$…。，；、")
        for opening, closing in ("()", "[]", "（）"):
            if url.endswith(closing) and url.count(closing) > url.count(opening):
                url = url[:-1]
        if url.endswith(("(", "[", "（")):
            url = url[:-1]
        if url == before:
            break
    if url.count("/") > 2 or "://" not in url:
        url = _GLUED.sub("", url)
    host, path = _split(url)
    if not host or ("." not in host and host != "localhost"):
        return ""
    if _of(host, _CODE) and path.endswith(".git"):
        url = url.removesuffix(".git")
    if "://" not in url:
        return "https://" + url
    scheme, rest = url.split("://", 1)
    return f"{scheme.lower()}://{rest}"


def _split(url: str) -> tuple[str, str]:
    match = _HOST.match(url)
    if match is None:
        return "", ""
    return match[1].lower().removeprefix("www."), match[2]


def _of(host: str, hosts: tuple[str, ...]) -> bool:
    return any(host == known or host.endswith("." + known) for known in hosts)


def _same(url: str) -> str:
    """What two spellings of one address have in common."""
    host, path = _split(url)
    query = url[url.find("?") :] if "?" in url else ""
    return host + path.rstrip("/") + query


def _kind(url: str, before: str) -> str:
    host, path = _split(url)
    if host in ("doi.org", "dx.doi.org"):
        return "doi"
    if host in ("huggingface.co", "hf.co"):
        head = path.strip("/").split("/")[0]
        return {"datasets": "data", "spaces": "demo"}.get(head, "other")
    for kind, hosts in (("code", _CODE), ("demo", _DEMO), ("project", _PROJECT), ("data", _DATA), ("other", _ELSEWHERE)):
        if _of(host, hosts):
            return kind
    if host.startswith(("gitlab.", "git.", "code.")):
        return "code"
    said = [(match.end(), kind) for kind, words in _SAID for match in words.finditer(before)]
    return max(said)[1] if said else "other"
