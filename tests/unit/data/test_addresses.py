"""Which addresses a run is sent to: a corpus of what has fooled others."""

from __future__ import annotations

import ipaddress
import re
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data.addresses import Policy, Refused, check, check_name, read_url, refusal

NOTHING = Policy.of([], [])

# Where it leads is refused before a name is looked up: by its text, its name or its number.
REFUSED: dict[str, str] = {
    # schemes
    "http://data.example.com/a": "http: only https://",
    "file:///etc/passwd": "file: only https://",
    "file://localhost/etc/passwd": "only https://",
    "gopher://data.example.com:70/_GET": "gopher: only https://",
    "ftp://data.example.com/a": "only https://",
    "dict://127.0.0.1:11211/stats": "only https://",
    "ldap://127.0.0.1/": "only https://",
    "jar:https://data.example.com!/a": "only https://",
    "data:text/plain,x": "only https://",
    "javascript:alert(1)": "only https://",
    "//data.example.com/a": "only https://",
    "https:/data.example.com/a": "only https://",
    "https:data.example.com": "only https://",
    "": "characters of ASCII",
    # users, blanks, other letters
    "https://user@data.example.com/a": "user or password",
    "https://user:pass@data.example.com/a": "user or password",
    "https://data.example.com@169.254.169.254/": "user or password",
    "https://data.example.com:443@10.0.0.1/": "user or password",
    "https://data.example.com\\@169.254.169.254/": "characters of ASCII",
    "https://data.example.com\t/a": "characters of ASCII",
    "https://data.example.com/a b": "characters of ASCII",
    "https://data.example.com/a\r\nHost: x": "characters of ASCII",
    "https://\uff11\uff12\uff17.0.0.1/": "characters of ASCII",
    "https://127。0。0。1/": "characters of ASCII",
    "https://ⓛocalhost/": "characters of ASCII",
    "https://data.example.com/" + "a" * 2048: "at most 2048",
    "https://data%2eexample.com/": "no name of a host",
    "https://data..example.com/": "no name of a host",
    "https://-data.example.com/": "no name of a host",
    "https:///a": "no name of a host",
    "https://data.example.com:0/": "0 is no port",
    "https://data.example.com:65536/": "out of range",
    "https://data.example.com:x/": "could not be cast",
    # numbers
    "https://127.0.0.1/": "127.0.0.1 is a loopback address",
    "https://127.1.2.3:8443/": "a loopback address",
    "https://127.0.0.1./": "a loopback address",
    "https://127.1/": "four decimals",
    "https://2130706433/": "four decimals",
    "https://0x7f000001/": "four decimals",
    "https://0x7f.0.0.1/": "four decimals",
    "https://0x7F.1/": "four decimals",
    "https://0177.0.0.1/": "four decimals",
    "https://127.0.0.01/": "four decimals",
    "https://017700000001/": "four decimals",
    "https://127.0.0.0x1/": "four decimals",
    "https://1.2.3.4.5/": "four decimals",
    "https://data.example.com.1/": "four decimals",
    "https://0/": "four decimals",
    "https://0.0.0.0/": "an unspecified address",
    "https://10.0.0.1/": "a private address",
    "https://10.96.0.1/api/v1/namespaces/kube-system/secrets": "a private address",
    "https://172.16.0.1/": "a private address",
    "https://172.31.255.255/": "a private address",
    "https://192.168.0.1/": "a private address",
    "https://169.254.169.254/latest/meta-data/": "a link-local address",
    "https://169.254.170.2/v2/credentials": "a link-local address",
    "https://100.100.100.200/latest/": "an address that providers use inside",
    "https://168.63.129.16/machine": "the cloud's own machines",
    "https://192.0.0.192/opc/": "an address that providers use inside",
    "https://198.18.0.1/": "an address that providers use inside",
    "https://224.0.0.1/": "a multicast address",
    "https://255.255.255.255/": "a reserved address",
    "https://[::1]/": "::1 is a loopback address",
    "https://[0:0:0:0:0:0:0:1]/": "a loopback address",
    "https://[::]/": "an unspecified address",
    "https://[::ffff:127.0.0.1]/": "a loopback address",
    "https://[::ffff:7f00:1]/": "a loopback address",
    "https://[::ffff:169.254.169.254]/": "a link-local address",
    "https://[::127.0.0.1]/": "a reserved address",
    "https://[64:ff9b::a9fe:a9fe]/": "a link-local address",
    "https://[64:ff9b:1::a00:1]/": "a reserved address",
    "https://[2002:7f00:1::]/": "a reserved address",
    "https://[2001:0:7f00:1::]/": "a reserved address",
    "https://[fe80::1]/": "a link-local address",
    "https://[fe80::1%25eth0]/": "one network interface",
    "https://[fd00:ec2::254]/latest/": "a private address",
    "https://[fec0::1]/": "a private address",
    "https://[ff02::1]/": "a multicast address",
    "https://[::1/": "Invalid IPv6 URL",
    "https://[127.0.0.1]/": "",
    # names
    "https://localhost/": "a name inside of the cluster",
    "https://LOCALHOST./": "a name inside of the cluster",
    "https://a.localhost/": "a name inside of the cluster",
    "https://kubernetes/": "a name inside of the cluster",
    "https://kubernetes.default.svc/": "a name inside of the cluster",
    "https://kubernetes.default.svc.cluster.local/": "a name inside of the cluster",
    "https://metadata.google.internal/computeMetadata/v1/": "a name inside of the cluster",
    "https://printer.local/": "a name inside of the cluster",
    "https://router.home.arpa/": "a name inside of the cluster",
}
TAKEN: dict[str, tuple[str, int, str]] = {
    "https://data.example.com": ("data.example.com", 443, "/"),
    "HTTPS://Data.Example.COM./a%20b?x=1&y=%2F#part": ("data.example.com", 443, "/a%20b?x=1&y=%2F"),
    "https://data.example.com:8443/a/../b": ("data.example.com", 8443, "/a/../b"),
    "https://8.8.8.8/a": ("8.8.8.8", 443, "/a"),
    "https://[2606:4700:4700:0::1111]/a": ("2606:4700:4700::1111", 443, "/a"),
    "https://[64:ff9b::808:808]/": ("64:ff9b::808:808", 443, "/"),
    "https://xn--bcher-kva.example/": ("xn--bcher-kva.example", 443, "/"),
    "https://a_b.example.com/": ("a_b.example.com", 443, "/"),
    "https://1and1.example.com/": ("1and1.example.com", 443, "/"),
}


def judge(url: str, policy: Policy = NOTHING) -> None:
    target = read_url(url)
    check_name(target.host, policy)
    try:
        numbers = [str(ipaddress.ip_address(target.host))]
    except ValueError:
        return
    check(target.host, numbers, policy)


@pytest.mark.parametrize(("url", "why"), REFUSED.items())
def test_refused(url: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        judge(url)
    assert why in str(refused.value)


@pytest.mark.parametrize(("url", "expected"), TAKEN.items())
def test_taken(url: str, expected: tuple[str, int, str]) -> None:
    judge(url)
    target = read_url(url)
    assert (target.host, target.port, target.path) == expected


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        (["93.184.216.34"], ""),
        (["93.184.216.34", "2606:2800:220:1::1"], ""),
        (["127.0.0.1"], "data.example.com is at 127.0.0.1, a loopback address"),
        (["93.184.216.34", "169.254.169.254"], "at 169.254.169.254, a link-local address"),
        (["2606:2800:220:1::1", "fd00::1"], "at fd00::1, a private address"),
        (["fe80::1%2"], "at fe80::1%2, a link-local address"),
        (["34.118.224.1"], "at 34.118.224.1, an address that this installation refuses"),
    ],
)
def test_what_a_name_turns_out_to_be(numbers: list[str], why: str) -> None:
    policy = Policy.of([], ["34.118.224.0/20"])
    with pytest.raises(Refused, match=re.escape(why)) if why else nullcontext():
        check("data.example.com", numbers, policy)


@pytest.mark.parametrize(
    ("allow", "url", "taken"),
    [
        (["10.1.0.0/16"], "https://10.1.2.3/", True),
        (["10.1.0.0/16"], "https://10.2.2.3/", False),
        (["10.1.2.3"], "https://10.1.2.3/", True),
        (["10.1.0.0/16"], "https://[::ffff:10.1.2.3]/", True),
        (["fd00::/8"], "https://[fd12::1]/", True),
        (["fd00::/8"], "https://[fe80::1]/", False),
        (["files.intra.local"], "https://files.intra.local/", True),
        (["files.intra.local"], "https://other.intra.local/", False),
        (["files.intra.local"], "https://a.files.intra.local/", False),
        ([".intra.local"], "https://files.intra.local/", True),
        ([".intra.local"], "https://a.b.intra.local/", True),
        ([".intra.local"], "https://evilintra.local/", False),
        ([".intra.local"], "https://intra.local/", False),
        (["registry"], "https://registry/", True),
    ],
)
def test_what_is_allowed(allow: list[str], url: str, taken: bool) -> None:
    policy = Policy.of(allow, [])
    with nullcontext() if taken else pytest.raises(Refused):
        judge(url, policy)


def test_a_host_that_is_allowed_by_name_may_be_at_any_number() -> None:
    policy = Policy.of([".intra.local"], ["10.0.0.0/8"])
    check("files.intra.local", ["10.0.0.7"], policy)
    with pytest.raises(Refused, match=r"files\.example\.com is at 10\.0\.0\.7"):
        check("files.example.com", ["10.0.0.7"], policy)


def test_an_allowed_network_wins_over_a_refused_one_that_holds_it() -> None:
    policy = Policy.of(["34.118.224.7/32"], ["34.118.224.0/20"])
    check("a.example.com", ["34.118.224.7"], policy)
    with pytest.raises(Refused):
        check("a.example.com", ["34.118.224.8"], policy)


@given(st.ip_addresses(v=4))
def test_ipv4_agrees_with_the_standard_library_where_that_is_sure(address: ipaddress.IPv4Address) -> None:
    inside = (
        address.is_private or address.is_loopback or address.is_link_local or address.is_multicast or address.is_reserved
    )
    if inside and address not in ipaddress.ip_network("192.0.0.0/24"):
        assert refusal(address, NOTHING)


@given(st.ip_addresses(v=6))
def test_ipv6_agrees_with_the_standard_library_where_that_is_sure(address: ipaddress.IPv6Address) -> None:
    if not address.is_global and address not in ipaddress.ip_network("64:ff9b::/96"):
        assert refusal(address, NOTHING)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for url in (text, f"https://{text}"):
        try:
            target = read_url(url)
        except Refused:
            continue
        assert target.host
        assert read_url(f"https://{target.authority}{target.path}") == target
