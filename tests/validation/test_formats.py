"""What each kind of text is, against the parsers of the standard library where there is one."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import urllib.parse
import uuid
from collections.abc import Callable

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import sentrio


def accepted(kind: str, texts: list[str]) -> list[bool]:
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    entry = {"format": {"kind": kind}}
    (check,) = sentrio.check(frame, [entry], sample_failures=len(texts) or 1).report.checks
    failing = {item.row for item in check.sample}
    assert check.failed_count == len(failing)
    return [row not in failing for row in range(len(texts))]


def parses(function: Callable[[str], object], text: str) -> bool:
    try:
        function(text)
    except ValueError:
        return False
    return True


def edited(valid: st.SearchStrategy[str], alphabet: str) -> st.SearchStrategy[str]:
    """Valid texts, and such with one character changed, added or left out."""

    def edit(text: str, at: int, char: str, how: int) -> str:
        at %= len(text) + 1
        return text[:at] + ("" if how == 0 else char) + text[at + (how != 1) :]

    return valid | st.builds(edit, valid, st.integers(0, 60), st.sampled_from(alphabet), st.integers(0, 2))


addresses = edited(st.ip_addresses(v=4).map(str), "0123456789. ٣\n")
groups = st.lists(st.sampled_from(["0", "1", "ab", "FFFF", "01", "00000", ""]), min_size=1, max_size=9).map(":".join)
addresses6 = edited(
    st.ip_addresses(v=6).map(str)
    | st.ip_addresses(v=6).map(lambda address: address.exploded.upper())
    | groups
    | st.builds("{}:{}".format, groups, st.ip_addresses(v=4)),
    "0123456789abcdefgG:. \n",
)
dates = edited(st.dates().map(dt.date.isoformat), "0123456789- ٣\n")
moments = edited(
    st.datetimes(timezones=st.none() | st.timezones()).map(dt.datetime.isoformat)
    | st.datetimes().map(lambda moment: moment.isoformat(" ", "minutes"))
    | st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    "0123456789-:.TZ+ ٣\n",
)
UUIDS = edited(st.uuids().map(str) | st.uuids().map(lambda value: str(value).upper()), "0123456789abcdefgG-{} \n")


@given(texts=st.lists(addresses, max_size=20))
def test_ipv4(texts: list[str]) -> None:
    assert accepted("ipv4", texts) == [parses(ipaddress.IPv4Address, text) for text in texts]


@given(texts=st.lists(addresses6, max_size=20))
@example(
    ["::", "::1", "1::", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "::1.2.3.4", "1:2:3:4:5:6:1.2.3.4"]
)
@example(
    [":::", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:1.2.3.4", "1::2::3", ":1", "1:", "::1.2.3", "::01.2.3.4", "", "1"]
)
def test_ipv6(texts: list[str]) -> None:
    assert accepted("ipv6", texts) == [parses(ipaddress.IPv6Address, text) for text in texts]


def test_ipv6_has_no_zone() -> None:
    assert accepted("ipv6", ["fe80::1%eth0", "fe80::1/64", "[::1]"]) == [False, False, False]


@given(texts=st.lists(UUIDS, max_size=20))
def test_uuid(texts: list[str]) -> None:
    def canonical(text: str) -> bool:
        return parses(uuid.UUID, text) and str(uuid.UUID(text)) == text.lower()

    assert accepted("uuid", texts) == [canonical(text) for text in texts]


@given(texts=st.lists(dates, max_size=20))
@example(
    ["2024-02-29", "2023-02-29", "2000-02-29", "1900-02-29", "0000-01-01", "0001-01-01", "2026-1-01", "20260101"]
)
def test_date(texts: list[str]) -> None:
    def extended(text: str) -> bool:
        return len(text) == 10 and text[4:8:3] == "--" and text.isascii() and parses(dt.date.fromisoformat, text)

    assert accepted("date", texts) == [extended(text) for text in texts]


@given(texts=st.lists(moments, max_size=20))
@example(["2026-02-30T00:00", "2026-01-01T24:00", "2026-01-01T23:59:60", "2026-01-01", "2026-01-01T00:00+24:00"])
@example(["2026-01-01t00:00", "2026-01-01  00:00", "2026-01-01T00:00:00,5", "2026-01-01T00:00:00.", "2026-01-01T00"])
def test_datetime(texts: list[str]) -> None:
    written = re.compile(r"[0-9-]{10}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})?")

    def extended(text: str) -> bool:
        if not written.fullmatch(text):
            return False
        return parses(dt.datetime.fromisoformat, re.sub(r"(\.[0-9]{6})[0-9]*", r"\1", text))

    assert accepted("datetime", texts) == [extended(text) for text in texts]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            "email",
            ["a@b.co", "a.b+c@d-e.example.org", "o'neil@x.ie", "A@B.CO", "1@2.io", f"{'a' * 64}@b.co", "x@xn--bcher-kva.de"],
            [
                "", "a", "@b.co", "a@", "a@b", "a@b.", "a@.co", "a..b@c.de", ".a@b.co", "a.@b.co", "a b@c.de", "a@b c.de",
                "a@b@c.de", "a@-b.co", "a@b-.co", "a@b.1", "a@1.2.3.4", "é@b.co", "a@bü.de", "a@b.co\n", " a@b.co",
                f"{'a' * 65}@b.co", f"a@{'b' * 64}.co", "a@" + ".".join(["b" * 60] * 5) + ".co", '"a b"@c.de', "a@b,co",
            ],
        ),
        (
            "url",
            [
                "http://a", "https://example.org", "HTTPS://EXAMPLE.ORG:443/", "https://u:p@h.de:8080/p/a?q=1&r#f", "s3://bucket/key",
                "http://127.0.0.1:80", "http://[::1]:8080/x", "https://bücher.example/ü?ß", "file:///etc/hosts", "ftp://h.de",
                "http://h.de?x", "http://h.de#x", "http://h.de:", "http://h_1.de", "postgresql://u@db.internal/x", "http://h.de./",
            ],
            [
                "", "a", "example.org", "//h.de", "http:", "http://", "http:///x", "http:/h.de", "://h.de", "1http://h.de",
                "http://h.de:65536", "http://h.de:x", "http://a b.de", "http://h.de/a b", "http://h.de/\n", "http://256.1.1.1",
                "http://[::1", "http://[1::2::3]", "http://::1", "http://-h.de", "http://h-.de", "http://.de", "http://h..de",
                "mailto:a@b.co", "http://h.de/<x>", "http://h.de\\x", " http://h.de", "javascript:alert(1)", "http://u@p@h.de",
            ],
        ),
    ],
)  # fmt: skip
def test_email_and_url(kind: str, good: list[str], bad: list[str]) -> None:
    assert [text for text, yes in zip(good, accepted(kind, good), strict=True) if not yes] == []
    assert [text for text, yes in zip(bad, accepted(kind, bad), strict=True) if yes] == []


label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
hosts = st.builds(
    "{}.{}".format, st.lists(label, min_size=1, max_size=3).map(".".join), st.sampled_from(["de", "org"])
)
urls = edited(
    st.builds(
        "{}://{}{}{}".format,
        st.sampled_from(["http", "https", "s3"]),
        hosts | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
        st.sampled_from(["", ":80", ":65535", ":65536"]),
        st.sampled_from(["", "/", "/a/b", "/a?b=c", "#d", "?x"]),
    ),
    "ab1:/@.[]?# -%",
)


@given(texts=st.lists(urls, max_size=20))
def test_what_is_a_url_is_one_for_the_standard_library(texts: list[str]) -> None:
    for text, yes in zip(texts, accepted("url", texts), strict=True):
        if yes:
            parts = urllib.parse.urlsplit(text)
            assert parts.scheme
            assert parts.hostname
            assert parts.port is None or 0 <= parts.port <= 65535


def test_nulls_and_categories() -> None:
    frame = pl.DataFrame({"text": [None, "2026-01-01", "2026-02-30"]}, schema={"text": pl.Categorical})
    for kind, failed in (("date", 1), ("datetime", 2), ("email", 2)):
        (check,) = sentrio.check(frame, [{"format": {"kind": kind}}]).report.checks
        assert (check.failed_count, check.evaluated_count) == (failed, 2)
