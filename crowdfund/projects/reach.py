"""Which addresses of the internet may be asked when a stranger has named the host. Pure.

`ipaddress.is_global` is not enough: it calls multicast, site-local, NAT64, 6to4 and IPv4 addresses inside IPv6 ones
global, and cannot know which public addresses clouds use for their own inner services. Here the rule is the other way
round for IPv6: only what is handed out to networks, less what has a special meaning.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))

# Beyond what is_global refuses. No website has one of these.
NOT_PUBLIC_4 = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",
        "168.63.129.16/32",  # the inner services of one cloud, at a public address
        "192.0.0.0/24",  # protocol assignments; also the inner services of another cloud
        "192.31.196.0/24",  # AS112: answered by whoever is nearest
        "192.52.193.0/24",  # AMT relays, nearest too
        "192.88.99.0/24",  # 6to4 relays, nearest too
        "192.175.48.0/24",  # AS112 again
        "224.0.0.0/3",  # multicast, and what was never handed out
    )
)
HANDED_OUT_6 = IPv6Network("2000::/3")
NOT_PUBLIC_6 = tuple(
    IPv6Network(net)
    for net in (
        "2001::/23",  # protocol assignments, Teredo among them: an IPv4 address is inside
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address is inside
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # an experiment that ended in 2006
        "3fff::/20",  # for documents
    )
)
NAT64 = IPv6Network("64:ff9b::/96")
ISATAP = (0x0000_5EFE, 0x0200_5EFE)
_LOW = 0xFFFF_FFFF


def is_public(address: Address) -> bool:
    """May a stranger's host be at this address? A NAT64 address is the IPv4 address inside it, as RFC 6052 has it."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in net for net in NOT_PUBLIC_4)
    if address.scope_id is not None:
        return False
    if address in NAT64:
        return is_public(IPv4Address(int(address) & _LOW))
    if address not in HANDED_OUT_6 or not address.is_global or any(address in net for net in NOT_PUBLIC_6):
        return False
    return (int(address) >> 32) & _LOW not in ISATAP


def is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    """Is it in one of them? An address with a zone is in none."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return False
    return any(address in net for net in networks)
