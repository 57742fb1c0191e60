"""The three kinds of server over one regtest node, as settings name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from crowdfund.chain.regtest import RegtestNode
from support.electrumx import ElectrumX
from support.esplora import EsploraServer

TLS = pytest.param("electrum over TLS", marks=pytest.mark.long)
# TLS changes nothing but the line, which tests of its own are about: whole stories over it are for the long run.
FEW = ["core", "electrum", "esplora", TLS]
# One that is followed block by block and one that is asked for scripts.
FEWER = ["core", "electrum", TLS, pytest.param("esplora", marks=pytest.mark.long)]


@contextmanager
def server_settings(node: RegtestNode, folder: Path, *kinds: str) -> Iterator[dict[str, str]]:
    """Start a server of each of `kinds` over the node: the settings that name them. The first is to be watched, the
    second, if there is one, must agree with it."""
    settings: dict[str, str] = {}
    with ExitStack() as stack:
        for kind, role in zip(kinds, ("BACKEND", "SECOND_BACKEND"), strict=False):
            settings[role] = kind.partition(" ")[0]
            if settings[role] == "esplora":
                settings["ESPLORA_URL"] = stack.enter_context(EsploraServer(node)).url
            elif settings[role] == "electrum":
                tls = kind.endswith("TLS")
                server = stack.enter_context(ElectrumX.start(node, folder / "electrumx", tls=tls))
                settings["ELECTRUM_URL"] = server.tls_url if tls else server.url
                settings |= {"CA_FILE": str(server.ca_file)} if tls else {}
        yield settings
