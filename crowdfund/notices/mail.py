"""Mails as bytes, in their reader's language, and addresses as they may be. Knows no server and no database.

Whatever text comes in, it can add no header and no recipient: it is brought onto one line before it gets near one.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from email_validator import EmailNotValidError, validate_email

from crowdfund import languages
from crowdfund.errors import UserError
from crowdfund.languages import LANGUAGES
from crowdfund.notices.words import Words
from crowdfund.sentences import N_, Sentence

SUBJECT_LIMIT = 150
ADDRESS_LIMIT = 254
NO_MORE = N_("To hear no more of this")


@dataclass(frozen=True)
class Mail:
    """One mail. `message_id` is the same at each attempt, so that a reader's mail program can tell a repetition."""

    sender: str
    recipient: str
    site_name: str
    words: Words
    message_id: str
    at: datetime
    link: str = ""
    off_link: str = ""
    language: str = LANGUAGES[0]

    def said(self, text: str) -> str:
        """A sentence as this mail says it."""
        return languages.said(text, self.language)


def check_address(text: str, field: str = "email") -> str:
    """The address in plain ASCII (names of domains in Punycode), fit for an envelope. Raises UserError."""
    try:
        found = validate_email(text.strip(), check_deliverability=False, allow_smtputf8=False, strict=True)
    except EmailNotValidError as error:
        raise UserError("This is not an e-mail address; it looks like name@example.org.", field) from error
    address = found.ascii_email or ""
    if not address or len(address) > ADDRESS_LIMIT or not address.isascii() or not address.isprintable():
        raise UserError("This address cannot be used; give another one.", field)
    return address


def masked(address: str) -> str:
    """Enough for its owner to know it again: b…@example.org."""
    name, _, domain = address.rpartition("@")
    return f"{name[:1]}…@{domain}"


def one_line(text: str, limit: int = SUBJECT_LIMIT) -> str:
    """Visible characters on one line: everything that could end a header is a space."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def message_bytes(mail: Mail) -> bytes:
    """The mail as it goes over the wire (RFC 5322, lines ended by CRLF, ASCII only)."""
    message = EmailMessage(policy=SMTP)
    name, domain = mail.sender.rsplit("@", 1)
    message["From"] = Address(one_line(mail.site_name, 60), name, domain)
    message["To"] = Address("", *mail.recipient.rsplit("@", 1))
    message["Subject"] = one_line(f"{mail.said(mail.words.subject)} · {mail.site_name}")
    message["Date"] = format_datetime(mail.at.astimezone(UTC))
    message["Message-ID"] = f"<{mail.message_id}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    if mail.off_link:
        message["List-Unsubscribe"] = f"<{mail.off_link}>"  # RFC 8058
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(_text(mail), cte="quoted-printable")
    message.add_alternative(_html(mail), subtype="html", cte="quoted-printable")
    message.set_boundary(f"={mail.message_id}")  # nothing random: at each attempt the same bytes
    return message.as_bytes()


def _paragraphs(mail: Mail) -> list[str]:
    said = map(mail.said, mail.words.paragraphs)
    return [" ".join("".join(c if c.isprintable() else " " for c in p).split()) for p in said]


def _text(mail: Mail) -> str:
    parts = _paragraphs(mail)
    parts += [mail.link] if mail.link else []
    parts += [f"-- \n{one_line(mail.site_name, 60)}"]
    parts += [mail.said(Sentence("To hear no more of this: {link}", link=mail.off_link))] if mail.off_link else []
    return "\n\n".join(parts) + "\n"


def _html(mail: Mail) -> str:
    parts = [f"<p>{html.escape(p)}</p>" for p in _paragraphs(mail)]
    if mail.link:
        link = html.escape(mail.link)
        parts.append(f'<p><a href="{link}">{link}</a></p>')
    parts.append(f"<hr><p>{html.escape(one_line(mail.site_name, 60))}</p>")
    if mail.off_link:
        parts.append(f'<p><a href="{html.escape(mail.off_link)}">{html.escape(mail.said(NO_MORE))}</a></p>')
    body = "\n".join(parts)
    written = f'lang="{mail.language}" dir="{languages.direction(mail.language)}"'
    return f'<!doctype html>\n<html {written}><head><meta charset="utf-8"></head><body>\n{body}\n</body></html>\n'
