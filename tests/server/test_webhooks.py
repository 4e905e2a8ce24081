"""Webhooks against a real server: signed, tried again, never to an address that nobody listed."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guardrail.errors import DataError
from guardrail.server.destinations import Destinations, is_public
from guardrail.server.webhooks import DELIVERY, SIGNATURE, Webhooks, sign
from tests.helpers.receiver import receiver

SECRET = b"0123456789abcdef0123456789abcdef"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "observe.md"


def verification():
    """The snippet of the page, as a reader would run it."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102, the page's own code
    return names["is_genuine"]


def delivered(statuses, **options):
    with receiver(statuses, **options) as (origin, got):
        webhooks = Webhooks(Destinations([origin]), SECRET, pauses=(0.0, 0.0))
        assert webhooks.send(webhooks.destinations.read(f"{origin}/verdicts?of=ann"), "verdict-1", b'{"a": 1}')
        assert webhooks.close(10) == 0
        return got, webhooks.counts


def test_what_arrives_proves_who_sent_it():
    got, counts = delivered([204])
    ((path, headers, body),) = got
    assert (path, body, headers[DELIVERY]) == ("/verdicts?of=ann", b'{"a": 1}', "verdict-1")
    assert counts == {"delivered": 1}
    is_genuine = verification()
    assert is_genuine(SECRET, headers[SIGNATURE], body)
    assert not is_genuine(SECRET, headers[SIGNATURE], body + b" ")
    assert not is_genuine(SECRET[::-1], headers[SIGNATURE], body)
    assert not is_genuine(SECRET, sign(SECRET, body, int(time.time()) - 3600), body)  # a replayed one
    for nonsense in ("", "t=,v1=", "v1=00", "t=x,v1=00", "t=9"):
        assert not is_genuine(SECRET, nonsense, body)


def test_the_signature_is_hmac_of_time_and_body():
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
    assert (
        sign(SECRET, b"{}", 1700000000)
        == "t=1700000000,v1=" + "417adf36b901772f658597a76d329694e335e65fc0849d7715c3ca33406309b5"
    )


@pytest.mark.parametrize(
    ("statuses", "tries", "counts"),
    [
        ([503, 429, 200], 3, {"tried again": 2, "delivered": 1}),
        ([500], 3, {"tried again": 2, "given up": 1}),
        ([410], 1, {"given up": 1}),
    ],
)
def test_what_may_pass_is_tried_again(statuses, tries, counts):
    got, found = delivered(statuses)
    assert len(got) == tries
    assert {headers[DELIVERY] for _, headers, _ in got} == {"verdict-1"}
    assert found == counts


def test_a_redirect_leads_nowhere():
    with receiver([200]) as (elsewhere, got_elsewhere):
        got, counts = delivered([307], location=elsewhere)
    assert (len(got), got_elsewhere, counts) == (1, [], {"given up": 1})


def test_a_reply_that_never_comes_is_given_up_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        origin = f"http://127.0.0.1:{silent.getsockname()[1]}"
        allowed = Destinations([origin])
        with pytest.raises(OSError, match="time|reply|closed"):
            allowed.post(allowed.read(origin), b"{}", {}, timeout=0.3)


def test_too_many_are_refused_and_the_end_says_what_is_left():
    with receiver([503]) as (origin, _):
        webhooks = Webhooks(Destinations([origin]), SECRET, most=2, pauses=(60.0,))
        to = webhooks.destinations.read(origin)
        assert [webhooks.send(to, f"verdict-{i}", b"{}") for i in range(3)] == [True, True, False]
        assert webhooks.counts["refused"] == 1
        assert webhooks.close(0.2) == 2
        assert not webhooks.send(to, "verdict-9", b"{}")


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        ["93.184.215.14", "127.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fe80::1%eth0"],
        ["224.0.1.1"],
        ["0.0.0.0"],  # noqa: S104, looked at, not bound
        [],
    ],
)
def test_a_name_that_leads_inside_is_not_followed(addresses):
    allowed = Destinations(["https://hooks.example.com"], resolve=lambda host, port: addresses)
    with pytest.raises(OSError, match=r"no public address|no address"):
        allowed.post(allowed.read("https://hooks.example.com/x"), b"{}", {}, timeout=1)


def test_public_addresses_are_public():
    assert all(map(is_public, ["93.184.215.14", "2606:4700::1111", "::ffff:93.184.215.14"]))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com.evil.org/x",
        "https://hooks.example.com@evil.org/x",
        "https://user:word@hooks.example.com/x",
        "http://hooks.example.com/x",
        "https://hooks.example.com:8443/x",
        "https://hooks.example.com\\@evil.org/",
        "https://hooks.example.com/x\r\nHost: evil.org",
        "https://hooks.example.com:99999/",
        "file:///etc/passwd",
        "https:///x",
        "https://[::1/x",
        "https://hooks.example.com/#x",
        "//hooks.example.com/x",
        "",
        "https://hooks.example.com/" + "x" * 2000,
        "https://hööks.example.com/",
        "http://127.0.0.1:9001/",
        "http://2130706433:9000/",
        "http://127.1:9000/",
    ],
)
def test_only_listed_origins_are_read(url):
    allowed = Destinations(["https://hooks.example.com", "http://127.0.0.1:9000"])
    with pytest.raises(DataError):
        allowed.read(url)


@settings(max_examples=50)
@given(st.text(max_size=80), st.sampled_from(["", "https://", "http://", "https://hooks.example.com"]))
def test_any_text_is_read_or_refused_in_words(text, before):
    allowed = Destinations(["https://hooks.example.com"])
    try:
        read = allowed.read(before + text)
    except DataError:
        return
    assert str(read.origin) == "https://hooks.example.com:443"
    assert read.path.startswith("/")
    assert read.path.isprintable()


@pytest.mark.parametrize("origin", ["https://hooks.example.com/x", "http://hooks.example.com", "hooks.example.com"])
def test_the_operators_list_is_read_strictly(origin):
    with pytest.raises(DataError):
        Destinations([origin])


def test_a_short_secret_is_refused():
    with pytest.raises(DataError, match="3 bytes"):
        Webhooks(Destinations([]), b"abc")
