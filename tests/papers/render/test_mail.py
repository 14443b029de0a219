from __future__ import annotations

from dataclasses import replace
from email import message_from_string
from email.message import EmailMessage
from email.policy import default

import pytest

from diffolio.errors import BadInput
from diffolio.papers.issue import Digest
from diffolio.papers.render import render
from tests.papers.render.pages import active


def read(text: str) -> EmailMessage:
    message = message_from_string(text, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_message(issue: Digest) -> None:
    text = render(issue, "mail", sender="digest@example.org", to="a@example.org, b@example.org")
    message = read(text)
    assert message["Subject"] == "All papers · 2024-03-15 to 2024-03-20 (7 papers)"
    assert message["To"] == "a@example.org, b@example.org" and message["Date"].datetime.isoformat() == "2024-03-21T06:00:00+00:00"
    plain, rich = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None and rich is not None
    assert "diffolio run fouriscale" in plain.get_content() and "图像生成" in rich.get_content()
    assert active(rich.get_content()) == []
    assert text.isascii() and "\n" not in text.replace("\r\n", "") and max(map(len, text.split("\r\n"))) <= 998


def test_a_topic_cannot_add_headers(issue: Digest) -> None:
    message = read(render(replace(issue, topic="x\r\nBcc: everyone@example.org\r\n\r\nbody"), "mail"))
    assert message["Bcc"] is None and "Bcc: everyone" in message["Subject"]


@pytest.mark.parametrize("address", ["nobody", "a@b@c", "a@example.org\r\nBcc: x@example.org", ""])
def test_wrong_sender(issue: Digest, address: str) -> None:
    with pytest.raises(BadInput):
        render(issue, "mail", sender=address)
