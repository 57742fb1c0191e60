"""Handing a mail to the operator's mail server. Waits no longer than it must, and says what a refusal means.

The password stands in the setting alone: no sentence here shows it.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from crowdfund.errors import WorldError
from crowdfund.notices.outbox import Result

STEP_TIMEOUT_S = 15
WHOLE_TIMEOUT_S = 60
SECURE_PORT, SUBMISSION_PORT = 465, 587


class Mailer:
    """The server that a setting names: `smtp://` (STARTTLS before anything is told, unless it is on this machine) or
    `smtps://`. A connection for each mail."""

    def __init__(self, url: str, step_timeout_s: float = STEP_TIMEOUT_S, whole_timeout_s: float = WHOLE_TIMEOUT_S):
        parts = urlsplit(url)
        self._implicit = parts.scheme == "smtps"
        self._host = parts.hostname or ""
        self._port = parts.port or (SECURE_PORT if self._implicit else SUBMISSION_PORT)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._step_s, self._whole_s = step_timeout_s, whole_timeout_s

    def send(self, sender: str, recipient: str, message: bytes) -> Result:
        """Hand over one mail. Raises WorldError where the server is at fault and not this mail: then others need not
        try either."""
        began = time.monotonic()
        with self._session() as smtp:
            result = _handed_over(smtp, sender, recipient, message)
        took_ms = int((time.monotonic() - began) * 1000)
        return Result(result.ok, result.sentence, result.status, result.final, took_ms)

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        """A connection that has said hello, and is secure and logged in where it has to be."""
        smtp = self._connected()
        watchdog = threading.Timer(self._whole_s, _cut, [smtp])
        watchdog.daemon = True
        watchdog.start()
        try:
            self._prepare(smtp)
            yield smtp
        finally:
            watchdog.cancel()
            with suppress(OSError, AttributeError, smtplib.SMTPException):  # it may be closed already
                smtp.sock.settimeout(1)  # type: ignore[union-attr]
                smtp.quit()
            smtp.close()

    def _connected(self) -> smtplib.SMTP:
        try:
            if self._implicit:
                context = ssl.create_default_context()
                return smtplib.SMTP_SSL(self._host, self._port, timeout=self._step_s, context=context)
            return smtplib.SMTP(self._host, self._port, timeout=self._step_s)
        except (OSError, smtplib.SMTPException) as error:
            raise WorldError(f"The mail server does not answer: {_why(error)}.") from error

    def _prepare(self, smtp: smtplib.SMTP) -> None:
        try:
            smtp.ehlo()
            if not self._implicit and not is_loopback(self._host):
                smtp.starttls(context=ssl.create_default_context())
                smtp.ehlo()
            if self._user:
                smtp.login(self._user, self._password)
        except smtplib.SMTPAuthenticationError as error:
            raise WorldError(f"The mail server does not accept our login ({error.smtp_code}).") from error
        except (OSError, smtplib.SMTPException) as error:
            raise WorldError(f"The mail server cannot be used: {_why(error)}.") from error


def is_loopback(host: str) -> bool:
    """Whether mail to this host never leaves the machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _handed_over(smtp: smtplib.SMTP, sender: str, recipient: str, message: bytes) -> Result:
    try:
        smtp.sendmail(sender, [recipient], message)
    except smtplib.SMTPRecipientsRefused as error:
        code, answer = next(iter(error.recipients.values()))
        return _refused(code, answer)
    except smtplib.SMTPDataError as error:
        return _refused(error.smtp_code, error.smtp_error)
    except smtplib.SMTPSenderRefused as error:
        raise WorldError(f"The mail server refuses our sender ({error.smtp_code}).") from error
    except (OSError, smtplib.SMTPException) as error:
        # Perhaps it has the mail: it is sent again with the same Message-ID, which does no harm.
        return Result(False, f"The connection broke before the mail was acknowledged: {_why(error)}.")
    return Result(True, "accepted", 250)


def _refused(code: int, answer: bytes | str) -> Result:
    text = answer.decode("ascii", "replace") if isinstance(answer, bytes) else answer
    return Result(False, f"The mail server says {code}: {text}", code, final=500 <= code < 600)


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, ssl.SSLError):
        return "its certificate or encryption cannot be trusted"
    return type(error).__name__


def _cut(smtp: smtplib.SMTP) -> None:
    """End a session that a trickle of answers keeps alive."""
    with suppress(OSError, AttributeError):
        smtp.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
