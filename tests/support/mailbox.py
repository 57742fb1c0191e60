"""A real SMTP server for the tests, which takes mails, puts them off, refuses, hangs or breaks off as it is told."""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

TAKES, DEFERS, REFUSES, HANGS, BREAKS_OFF = "takes", "defers", "refuses", "hangs", "breaks off"


class Mailbox:
    """Use as a context manager. `mails` are all that were handed over, in their order, as bytes."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.recipients: list[str] = []
        self.does = TAKES
        self._controller = _Controller(self, hostname="127.0.0.1", port=0)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.does = TAKES
        self._controller.stop()

    @property
    def url(self) -> str:
        """As the setting names it."""
        return f"smtp://127.0.0.1:{self._controller.port}"

    @property
    def read(self) -> list[EmailMessage]:
        """The mails as a mail program reads them."""
        found = [message_from_bytes(mail, policy=default) for mail in self.mails]
        return [mail for mail in found if isinstance(mail, EmailMessage)]

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        """May put off or refuse a recipient."""
        if self.does == DEFERS:
            return "451 4.7.1 Come back later"
        if self.does == REFUSES:
            return "550 5.1.1 No such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Any, envelope: Any) -> str:
        """Takes the mail, and then may say nothing, or break off."""
        if self.does == HANGS:
            await asyncio.sleep(5)
        self.mails.append(envelope.content)
        self.recipients.extend(envelope.rcpt_tos)
        if self.does == BREAKS_OFF:
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
        return "250 OK"


class _Controller(Controller):
    """Takes a free port."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]
