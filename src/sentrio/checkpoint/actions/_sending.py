"""How actions send something over HTTP, without anybody seeing where to."""

from __future__ import annotations

__all__ = ("deliver", "header_mapping", "is_placeholder", "secret_text", "url_text")

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from sentrio._environment import refers
from sentrio._options import owner_of
from sentrio.checkpoint.connections import open_client
from sentrio.errors import DeliveryError, HTTPRequestError, OptionValueError

if TYPE_CHECKING:
    import httpx

# What documentation writes where a reader has to put in his own URL. It can be given, and nothing is sent there.
_PLACEHOLDER = "..."

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_placeholder(url: str) -> bool:
    """Tell whether somebody has yet to put a URL in."""
    return url == _PLACEHOLDER


def _refuse(owner: Any, field: attrs.Attribute[Any], allowed: str) -> None:
    problem = f"{field.name} must be {allowed}; the value is not shown, as it may be secret"
    raise OptionValueError(owner_of(type(owner)), field.name, problem)


def url_text(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    """Allow URLs with a host, and what will be one when the environment has filled it."""
    if not isinstance(value, str):
        _refuse(owner, field, "text")
    assert isinstance(value, str)
    if is_placeholder(value) or refers(value):
        return
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not value.isprintable() or " " in value:
        _refuse(owner, field, "a URL with http:// or https:// and a host")


def secret_text(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    """Allow text that is not empty, and ``None``."""
    if value is not None and (not isinstance(value, str) or not value):
        _refuse(owner, field, "text that is not empty")


def header_mapping(owner: Any, field: attrs.Attribute[Any], value: object) -> None:
    """Allow names and values of HTTP headers."""
    if not isinstance(value, Mapping):
        _refuse(owner, field, "a mapping of names to texts")
    assert isinstance(value, Mapping)
    for name, text in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            problem = f"{field.name} must be a mapping of names to texts, and {name!r} is no name of a header"
            raise OptionValueError(owner_of(type(owner)), field.name, problem)
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            _refuse(owner, field, f"a mapping of names to texts, of printable ASCII characters, which {name} has not")


async def deliver(option: str, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """Send something, and return the answer if it is a success.

    :param option: the option that has the URL
    :raises OptionValueError: if the URL is still a placeholder
    :raises DeliveryError: if there is no answer, or one that is no success
    """
    if is_placeholder(url):
        raise OptionValueError("action", option, f"{option} is still the placeholder '...'; put in the real URL")
    host = urlsplit(url).hostname or ""
    try:
        async with open_client() as client:
            response = await client.request(method, url, content=body, headers=dict(headers))
    except HTTPRequestError as exc:
        raise DeliveryError(host, exc.problem) from exc
    if not response.is_success:
        answered = f"it answered {response.status_code} {response.reason_phrase}".rstrip()
        raise DeliveryError(host, answered + _explained(response), response.status_code)
    return response


def _explained(response: httpx.Response) -> str:
    """Return the word with which Slack says what was wrong; of other answers nothing, which may hold anything."""
    word = response.content[:60].strip()
    return f" ({word.decode()})" if re.fullmatch(rb"[a-z]+(_[a-z]+)+", word) else ""
