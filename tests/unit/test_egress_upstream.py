"""Proxy URLs as users paste them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oriel.egress.upstream import UpstreamKind, expand_pool, parse_upstream
from oriel.model.errors import InvalidError

VISIBLE = st.characters(codec="utf-8", categories=("L", "N", "P", "S"))


@pytest.mark.parametrize(
    ("url", "label", "username", "password"),
    [
        ("http://u:pw@proxy.example:8080", "http://proxy.example:8080", "u", "pw"),
        ("https://u:pw@Proxy.Example.:443/", "https://proxy.example:443", "u", "pw"),
        ("socks5://u:pw@203.0.113.9:1080", "socks5://203.0.113.9:1080", "u", "pw"),
        ("socks5h://[2001:db8::9]:1080", "socks5://[2001:db8::9]:1080", "", ""),
        ("u:pw@proxy.example:80", "http://proxy.example:80", "u", "pw"),
        ("dc.proxy.example:10001:user-1:p:w", "http://dc.proxy.example:10001", "user-1", "p:w"),
        ("  http://proxy.example:80\n", "http://proxy.example:80", "", ""),
        # Encoded, and not: a raw @ or / would have had to be encoded, so then % is just a character.
        ("http://u:p%40w%25@h.example:80", "http://h.example:80", "u", "p@w%"),
        ("http://u:p@w%41@h.example:80", "http://h.example:80", "u", "p@w%41"),
        ("http://u:p/w#x?y@h.example:80", "http://h.example:80", "u", "p/w#x?y"),
        ("http://u:100%@h.example:80", "http://h.example:80", "u", "100%"),
        ("http://u:a+b~=c@h.example:80", "http://h.example:80", "u", "a+b~=c"),
        ("http://u%40mail.example:pw@h.example:80", "http://h.example:80", "u@mail.example", "pw"),
    ],
)
def test_forms_that_users_paste(url: str, label: str, username: str, password: str) -> None:
    upstream = parse_upstream(url)
    assert (upstream.label, upstream.username, upstream.password.reveal()) == (label, username, password)


def test_all_faults_together_and_never_the_password() -> None:
    with pytest.raises(InvalidError) as raised:
        parse_upstream("ftp://:canary-pw@-bad-:99999")
    assert [fault.field for fault in raised.value.faults] == ["scheme", "host", "port", "username"]
    shown = (
        f"{raised.value!r} {raised.value.to_wire()} {raised.value.__cause__!r} {raised.value.__context__!r}"
    )
    assert "canary" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "", "http://", "http://h.example", "http://h.example:0", "http://h.example:65536", "http://0x7f.1:80",
        "http://127.1:80", "http://h.example:80/path", "http://u:p@h.example:80?x=1", "://h.example:80",
        "http://u\x00:p@h.example:80", f"http://u:{'x' * 256}@h.example:80", "http://h.example:٨٠",
    ],
)  # fmt: skip
def test_what_is_no_proxy_is_refused(url: str) -> None:
    with pytest.raises(InvalidError):
        parse_upstream(url)


def test_repr_and_label_hide_credentials() -> None:
    upstream = parse_upstream("http://canary-user:canary-pw@h.example:80")
    assert "canary" not in repr(upstream) + str(upstream) + upstream.label
    assert upstream.basic().reveal() == "Basic " + base64.b64encode(b"canary-user:canary-pw").decode()
    assert parse_upstream("h.example:80").basic().reveal() == ""


@given(
    st.sampled_from(list(UpstreamKind)),
    st.text(VISIBLE, min_size=1, max_size=40),
    st.text(VISIBLE, max_size=40),
)
def test_the_canonical_url_means_the_same(kind: UpstreamKind, username: str, password: str) -> None:
    from urllib.parse import quote

    upstream = parse_upstream(
        f"{kind}://{quote(username.replace(':', ''), safe='') or 'u'}:{quote(password, safe='')}@h.example:80"
    )
    assert upstream.password.reveal() == password
    assert parse_upstream(upstream.url.reveal()) == upstream


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        upstream = parse_upstream(text)
    except InvalidError:
        return
    assert 0 < upstream.port < 65536


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("http://u:p@h.example:100-102", [100, 101, 102]),
        ("h.example:100-101:u:p", [100, 101]),
        ("http://u:p@h.example:100", [100]),
        ("h.example:100:u:5-6", [100]),  # a password, not a range
    ],
)
def test_a_port_range_is_a_pool(url: str, ports: list[int]) -> None:
    pool = [parse_upstream(secret.reveal()) for secret in expand_pool(url)]
    assert [upstream.port for upstream in pool] == ports
    assert len({(upstream.username, upstream.password) for upstream in pool}) == 1


def test_a_list_as_providers_give_it_is_a_pool() -> None:
    text = "h.example:100-101:u:p\n\n  http://v:q@i.example:200\r\n"
    pool = [parse_upstream(secret.reveal()) for secret in expand_pool(text)]
    assert [upstream.label for upstream in pool] == [
        "http://h.example:100", "http://h.example:101", "http://i.example:200"
    ]  # fmt: skip
    with pytest.raises(InvalidError):
        expand_pool("\n".join(["h.example:1-600:u:p"] * 2))


@pytest.mark.parametrize("ports", ["0-3", "5-4", "1-65536", "1-1001"])
def test_a_bad_range_is_refused(ports: str) -> None:
    with pytest.raises(InvalidError):
        expand_pool(f"http://u:p@h.example:{ports}")
