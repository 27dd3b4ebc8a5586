"""Where a run may be sent by a web address: pure decisions over texts and numbers; no name is looked up here.

A run's pod is inside of the cluster's network, and who writes an address may be outside. So an address that an input names,
or that a server redirects to, is read strictly (`read_url`), and what its name turns out to be is judged before a connection
is made to just that (`check_name`, `check`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

URL_CHARACTERS = 2048
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The special-purpose registries of IANA: `ipaddress.is_global` differs from one release of Python to the next.
_SPECIAL: tuple[tuple[str, tuple[Network, ...]], ...] = tuple(
    (kind, tuple(ip_network(text) for text in texts.split()))
    for kind, texts in (
        ("a loopback address", "127.0.0.0/8 ::1/128"),
        ("a link-local address, where clouds keep their metadata", "169.254.0.0/16 fe80::/10"),
        ("a private address", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10"),
        ("an address that providers use inside", "100.64.0.0/10 192.0.0.0/24 198.18.0.0/15"),
        ("an address of the cloud's own machines", "168.63.129.16/32"),  # Azure's
        ("an unspecified address", "0.0.0.0/8 ::/128"),
        ("a multicast address", "224.0.0.0/4 ff00::/8"),
        ("a reserved address", "192.0.2.0/24 192.88.99.0/24 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4"),
        ("a reserved address", "2001::/23 2001:db8::/32 2002::/16 3fff::/20"),  # tunnels into IPv4 among them
    )
)
_GLOBAL = ip_network("2000::/3")  # all of IPv6 that is handed out
_NAT64 = ip_network("64:ff9b::/96")
_INSIDE = ("localhost", "local", "internal", "svc", "arpa")  # last labels that no public name of a server has
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Refused(ValueError):
    """The address is not one that a run is sent to; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an address leads: `host` is a name, or a number as `ipaddress` writes it; `path` has the query."""

    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """As in the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    @property
    def where(self) -> str:
        """For messages: without the query, which may be a credential."""
        return f"https://{self.authority}{self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class Policy:
    """What an installation allows in spite of what follows, and what it refuses besides."""

    hosts: frozenset[str]
    allowed: tuple[Network, ...]
    denied: tuple[Network, ...]

    @staticmethod
    def of(allow: Iterable[str], deny: Iterable[str]) -> Policy:
        """`allow`: networks, and names of hosts, `.example.com` being all below it; `deny`: networks."""
        hosts, allowed = set(), []
        for text in allow:
            try:
                allowed.append(ip_network(text))
            except ValueError:
                hosts.add(text.lower().rstrip("."))
        return Policy(frozenset(hosts), tuple(allowed), tuple(ip_network(text) for text in deny))

    def knows(self, host: str) -> bool:
        """Whether the host is allowed by its name."""
        labels = host.split(".")
        return host in self.hosts or any("." + ".".join(labels[start:]) in self.hosts for start in range(1, len(labels)))


def read_url(text: str) -> Target:
    """Where an address leads. Raises Refused, also for what other programs take for a number or a name."""
    if len(text) > URL_CHARACTERS or not re.fullmatch(r"[!-\[\]-~]+", text):
        raise Refused(f"an address has at most {URL_CHARACTERS} characters of ASCII, without blanks and backslashes")
    scheme, found, _ = text.partition("://")
    if not found or scheme.lower() != "https":
        raise Refused(f"{scheme[:32]}: only https:// is followed")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", 443 if parts.port is None else parts.port
    except ValueError as error:
        raise Refused(str(error)) from None
    if "@" in parts.netloc:
        raise Refused("a user or password in an address is not sent")
    if not 0 < port < 65536:
        raise Refused(f"{port} is no port")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(_host(host.lower(), bracketed="[" in parts.netloc), port, path)


def _host(host: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            address = IPv6Address(host)
        except ValueError:
            raise Refused(f"[{host}] is no address") from None
        if address.scope_id:
            raise Refused(f"[{host}] is an address of one network interface")
        return str(address)
    host = host.removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # whatever it looks like, some resolver takes it for a number
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise Refused(f"{host}: a number is written as four decimals, such as 192.0.2.1") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused(f"{host[:64]!r} is no name of a host")
    return host


def is_number(host: str) -> bool:
    """Whether a host of `read_url` is a number, not a name."""
    return ":" in host or host.rpartition(".")[2].isdecimal()


def check_name(host: str, policy: Policy) -> None:
    """Raises Refused for a name that means something inside of a cluster or a cloud only."""
    if is_number(host) or policy.knows(host):
        return
    labels = host.split(".")
    if len(labels) == 1 or labels[-1] in _INSIDE:
        raise Refused(f"{host} is a name inside of the cluster or its network")


def check(host: str, numbers: Iterable[str], policy: Policy) -> None:
    """Raises Refused where one of a host's numbers is not for a run: a name that has two kinds of them may have them in
    another order the next time.
    """
    if policy.knows(host):
        return
    for text in numbers:
        if why := refusal(ip_address(text.partition("%")[0]), policy):
            raise Refused(f"{host} is {why}" if is_number(host) else f"{host} is at {text}, {why}")


def refusal(address: Address, policy: Policy) -> str | None:
    """What an address is that runs are not sent to; None for one of the internet's."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in network for network in policy.allowed):
        return None
    if any(address in network for network in policy.denied):
        return "an address that this installation refuses"
    if isinstance(address, IPv6Address) and address in _NAT64:
        return refusal(IPv4Address(int(address) & 0xFFFFFFFF), policy)
    kind = next((kind for kind, networks in _SPECIAL if any(address in network for network in networks)), None)
    if kind is None and isinstance(address, IPv6Address) and address not in _GLOBAL:
        return "a reserved address"
    return kind
