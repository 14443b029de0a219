"""An issue as an e-mail: text and HTML in one message, nothing loaded from anywhere."""

from __future__ import annotations

from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from diffolio.errors import BadInput
from diffolio.papers.digest import Digest
from diffolio.papers.render import common
from diffolio.papers.render.feed import _urn
from diffolio.papers.render.html import mail_page
from diffolio.papers.render.markdown import markdown


def mail(digest: Digest, *, sender: str = "diffolio@localhost", to: str = "") -> str:
    """The issue as an ``.eml`` file (CRLF line ends), ready for any mail program. Raises BadInput for a wrong address."""
    counts = digest.counts
    message = EmailMessage(policy=SMTP.clone(max_line_length=78))
    message["Subject"] = f"{common.title(digest)} ({counts['papers']} papers)"
    message["From"] = _address(sender)
    if to:
        message["To"] = tuple(_address(one) for one in to.split(","))
    message["Date"] = common.moment(digest.now)
    # One issue, one message: a mail program that gets it twice shows it once.
    name = _urn("\n".join([digest.topic, digest.first, digest.last, digest.now, digest.fingerprint])).rsplit(":", 1)[-1]
    message["Message-ID"] = f"<{name}@diffolio>"
    message.set_content(markdown(digest), cte="quoted-printable")
    message.add_alternative(mail_page(digest), subtype="html", cte="quoted-printable")
    message.set_boundary(f"=_{name}")
    return message.as_bytes().decode("ascii")


def _address(text: str) -> Address:
    try:
        return Address(addr_spec=text.strip())
    except (ValueError, IndexError, MessageError) as error:
        raise BadInput(f"{text!r} is not an e-mail address: {error}") from error
