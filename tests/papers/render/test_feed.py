from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from xml.etree import ElementTree

from diffolio.papers.issue import Digest
from diffolio.papers.render import render
from tests.papers.render.pages import active

ATOM = "{http://www.w3.org/2005/Atom}"
CONTENT = "{http://purl.org/rss/1.0/modules/content/}encoded"


def test_rss(issue: Digest) -> None:
    root = ElementTree.fromstring(render(issue, "rss", url="https://example.org/feed.rss"))
    items = root.findall("channel/item")
    assert len(items) == 7 and root.get("version") == "2.0"
    for name in ("title", "link", "description"):
        assert root.findtext(f"channel/{name}")
    links = [item.findtext("link") for item in items]
    assert links[0] == "https://arxiv.org/abs/2403.12963v1" and len({item.findtext("guid") for item in items}) == 7
    days = [parsedate_to_datetime(item.findtext("pubDate") or "").date().isoformat() for item in items]
    assert days == [entry.day for entry in issue.entries]
    assert all(active(item.findtext(CONTENT) or "") == [] for item in items)
    assert "diffolio run fouriscale" in (items[0].findtext("description") or "")


def test_atom(issue: Digest) -> None:
    root = ElementTree.fromstring(render(issue, "atom"))
    entries = root.findall(f"{ATOM}entry")
    assert len(entries) == 7
    for part in (root, *entries):
        assert (part.findtext(f"{ATOM}id") or "").startswith("urn:uuid:")
        assert part.findtext(f"{ATOM}title") and (part.findtext(f"{ATOM}updated") or "").endswith("Z")
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == 7
    assert all(active(entry.findtext(f"{ATOM}content") or "") == [] for entry in entries)


def test_json_feed(issue: Digest) -> None:
    feed = json.loads(render(issue, "json"))
    assert feed["version"] == "https://jsonfeed.org/version/1.1" and len(feed["items"]) == 7
    first = feed["items"][0]
    assert first["_diffolio"]["runs"] == {"command": "diffolio run fouriscale", "claim": "holds", "figure": "3.19 -> 1.91 (n=64)"}
    assert first["date_published"] == "2024-03-19T00:00:00Z" and first["authors"][0] == {"name": "Ana Müller"}
    assert all(active(item["content_html"]) == [] for item in feed["items"])


def test_an_update_is_a_new_item_and_the_feed_stays_one(issue: Digest) -> None:
    feed = json.loads(render(issue, "json"))
    updated = next(item for item in feed["items"] if "2312.00123" in item["id"])
    assert updated["id"] == "oai:arXiv.org:2312.00123v2" and updated["_diffolio"]["since"] == 1
    assert "<del>weight</del><ins>importance</ins>" in updated["content_html"]


def test_characters_that_xml_cannot_carry_are_left_out(issue: Digest) -> None:
    from dataclasses import replace

    entry = replace(issue.entries[0], title="a\x00b\x0bc\ud800d\ufffe", abstract="x\x1by")
    broken = replace(issue, entries=(entry,))
    for format in ("rss", "atom"):
        text = render(broken, format)
        text.encode()
        assert "abcd" in text and ElementTree.fromstring(text) is not None
