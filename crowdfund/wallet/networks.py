"""The four networks and what tells them apart: prefixes, coin types, genesis blocks. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Network:
    """One bitcoin network. `genesis` is the hash of block 0; `coin_type` is that of SLIP 44."""

    name: str
    title: str
    bech32_prefix: str
    p2pkh_version: int
    p2sh_version: int
    coin_type: int
    genesis: str
    bitcoinlib_name: str
    embit_name: str


NETWORKS = {
    n.name: n
    for n in (
        Network("mainnet", "bitcoin", "bc", 0x00, 0x05, 0,
                "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f", "bitcoin", "main"),
        Network("testnet4", "testnet4", "tb", 0x6F, 0xC4, 1,
                "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043", "testnet4", "test"),
        Network("signet", "signet", "tb", 0x6F, 0xC4, 1,
                "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6", "signet", "signet"),
        Network("regtest", "regtest", "bcrt", 0x6F, 0xC4, 1,
                "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206", "regtest", "regtest"),
    )
}  # fmt: skip
