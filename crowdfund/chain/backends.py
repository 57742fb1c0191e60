"""Which backend the settings ask for, and which way of following suits it. Wiring only."""

from __future__ import annotations

from crowdfund.chain.core import CoreBackend
from crowdfund.chain.electrum import ElectrumBackend
from crowdfund.chain.esplora import EsploraBackend
from crowdfund.chain.follow import BlockFollower, Follower
from crowdfund.chain.follow_scripts import ScriptFollower
from crowdfund.chain.port import BlockBackend, ScriptBackend
from crowdfund.config import Settings

AnyBackend = BlockBackend | ScriptBackend


def watched_backend(settings: Settings) -> AnyBackend:
    """The backend that the worker follows."""
    return _backend(settings.backend, settings)


def second_backend(settings: Settings) -> AnyBackend | None:
    """The one that must agree before anything is decided, where one is configured."""
    return _backend(settings.second_backend, settings) if settings.second_backend else None


def follower_of(backend: AnyBackend, network: str) -> Follower:
    """Whole blocks where they can be had, else the history of each script."""
    if isinstance(backend, CoreBackend):
        return BlockFollower(backend, network, backend.again)
    if isinstance(backend, BlockBackend):
        return BlockFollower(backend, network)
    return ScriptFollower(backend, network)


def _backend(kind: str, settings: Settings) -> AnyBackend:
    if kind == "electrum":
        return ElectrumBackend(settings.electrum_url, settings.network, settings.ca_file)
    if kind == "esplora":
        return EsploraBackend(settings.esplora_url, settings.network, settings.ca_file)
    return CoreBackend(settings.bitcoind_url, settings.bitcoind_cookie_file, settings.bitcoind_password)
