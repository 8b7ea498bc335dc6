"""Whether an address lies in the public internet: a hub there must not send us to machines of the user's own network.

A redirect is a request that a stranger words and the user's machine makes. Behind it may stand a router, a printer or a
cloud's metadata service (169.254.169.254), which believe whoever comes from within.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from weigh.types import WeighError


def is_public(url: str) -> bool:
    """Whether every machine that the host's name stands for is in the public internet.

    A name that stands for none counts as public: no connection to it comes about, and that is told.
    """
    return all(map(_is_global, _resolved(url)))


def require_public(url: str, label: str) -> None:
    """Refuse an address of the user's own network. Error: HUB-REDIRECT."""
    if not is_public(url):
        host = urlsplit(url).hostname
        message = f"the hub redirects from the internet into a private network, to {host!r}"
        hint = "where this is meant, let HF_ENDPOINT name a hub in that network"
        raise WeighError(message, rule="HUB-REDIRECT", path=label, hint=hint)


def _resolved(url: str) -> list[str]:
    """Numeric addresses of a host. The system resolves also the older spellings, such as 2130706433 or 127.1."""
    try:
        parts = urlsplit(url)
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return []
    return [str(place[4][0]).partition("%")[0] for place in found]


def _is_global(address: str) -> bool:
    found = ip_address(address)
    # An IPv4 address in IPv6's clothes: the first is what is reached.
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found.sixtofour or found
    return found.is_global and not found.is_multicast
