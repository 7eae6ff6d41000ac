"""Files behind a URL, read by Polars' own scanners in ranges."""

from __future__ import annotations

__all__ = ("RemoteFiles",)

import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import attrs

from sentrio.errors import SourceError
from sentrio.validation.sources.base import concealed, redacted_url

# How long a store may keep a scanner waiting; its own patience is ten tries and three minutes. For plain HTTP
# Polars takes no such options, so a server is asked once before it is read.
_PATIENCE = {"max_retries": 3, "retry_timeout_ms": 30_000, "timeout": "120s", "connect_timeout": "10s"}
_ASK_SECONDS = 10.0
_MAGIC = "*?["


@attrs.define(eq=False)
class RemoteFiles:
    """What a URL stands for: one file, or with a pattern or a folder of a bucket, as many as Polars finds."""

    label: str
    url: str = attrs.field(repr=False)
    _mark: tuple[str, ...] | None = attrs.field(default=None, init=False)

    @classmethod
    def find(cls, label: str, url: str) -> RemoteFiles:
        """Ask a web server for the file; what is in a bucket shows when it is read.

        :raises SourceError: if there is no such file, or no answer
        """
        found = cls(label, url)
        found._mark = found._ask()
        return found

    @property
    def paths(self) -> list[str]:
        """The URL, as the one place that scanners are given."""
        return [self.url]

    @property
    def is_web(self) -> bool:
        """Whether it is a file of a web server, and not of a bucket."""
        return urlsplit(self.url).scheme.lower() in {"http", "https"}

    @property
    def is_many(self) -> bool:
        """Whether there may be several files."""
        return not self.is_web and (self.url.endswith("/") or any(char in self.url for char in _MAGIC))

    def folders(self, path: str) -> Sequence[str]:
        """Return the names of the folders between the one that was named and a file."""
        plain = next((i for i, char in enumerate(self.url) if char in _MAGIC), len(self.url))
        root = self.url[: self.url.rfind("/", 0, plain) + 1]
        return path.removeprefix(root).split("/")[:-1] if self.is_many and path.startswith(root) else ()

    @property
    def scan_options(self) -> Mapping[str, Any]:
        """What scanners are told beside the URL; credentials come from the environment."""
        if self.is_web:
            return {"glob": False}
        return {"glob": self.is_many, "storage_options": dict(_PATIENCE)}

    def name(self, path: Any) -> str:
        """Return how messages call one of the files."""
        return redacted_url(path).rpartition("/")[2] if self.is_many else self.label

    def error(self, path: Any, problem: str) -> SourceError:
        """Return the error for what is wrong with one of the files."""
        name = "" if path == self.url else f"{self.name(path)}: "
        return SourceError(self.label, name + self.tell(problem))

    def verify(self) -> Iterator[None]:
        """Check that the file is the one that was found.

        :raises SourceError: if it changed meanwhile
        """
        if self._mark is not None:
            if self._ask() != self._mark:
                raise SourceError(self.label, "it changed while it was read; run the check again")
            yield

    def tell(self, text: str) -> str:
        """Return a message without user, password and query of the URL, however they are written."""
        return concealed(text, self.url).removeprefix("object-store error: ")

    def _ask(self) -> tuple[str, ...] | None:
        """Return what changes when the file of a web server does: ETag, time of modification, and size."""
        if not self.is_web:
            return None
        try:
            try:
                return self._head("HEAD")
            except urllib.error.HTTPError as exc:
                exc.close()
                if exc.code not in {403, 405, 501}:
                    raise
                return self._head("GET")  # some servers, and links that are signed for one method, refuse HEAD
        except urllib.error.HTTPError as exc:
            exc.close()
            raise SourceError(self.label, f"the server answered {exc.code} {exc.reason}") from None
        except (OSError, ValueError) as exc:
            reason = getattr(exc, "reason", None) or exc
            raise SourceError(self.label, f"no answer from the server: {self.tell(str(reason))}") from None

    def _head(self, method: str) -> tuple[str, ...]:
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        request = urllib.request.Request(  # noqa: S310  # the scheme is http or https
            urlunsplit(parts._replace(netloc=host, fragment="")), method=method
        )
        if user:
            request.add_header("Authorization", "Basic " + b64encode(unquote(user).encode()).decode())
        if method == "GET":
            request.add_header("Range", "bytes=0-0")
        with urllib.request.urlopen(request, timeout=_ASK_SECONDS) as answer:  # noqa: S310
            headers = answer.headers
            size = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
            return headers.get("ETag", ""), headers.get("Last-Modified", ""), size
