"""A web server on loopback that knows ranges, and as much of S3, and of the stores of Google and Azure, as a scanner asks for."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import attrs


@attrs.define(eq=False)
class Web:
    """What the server holds, and what it was asked."""

    files: dict[str, bytes] = attrs.field(factory=dict)  #: by path, which begins with the bucket for S3
    asked: list[tuple[str, str, str | None]] = attrs.field(factory=list)  #: method, path with query, range
    version: int = 1  #: part of every ETag
    refuses: frozenset[str] = frozenset()  #: methods that are answered 405
    authorization: list[str | None] = attrs.field(factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _send(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _answer(self) -> None:
        web, parts = self.web, urlsplit(self.path)
        wanted = self.headers.get("Range")
        web.asked.append((self.command, self.path, wanted))
        web.authorization.append(self.headers.get("Authorization"))
        path = unquote(parts.path).lstrip("/")
        query = parse_qs(parts.query)
        listing = self._azure if "comp" in query else self._listing
        if self.command in web.refuses:
            self._send(405, b"")
        elif "list-type" in query or "comp" in query:
            prefix = query.get("prefix", [""])[0]
            self._send(200, listing(path.rstrip("/"), prefix), Content_Type="application/xml")
        elif path not in web.files:
            self._send(404, b"")
        else:
            self._file(web.files[path], wanted)

    def _file(self, body: bytes, wanted: str | None) -> None:
        tags = {
            "ETag": f'"{self.web.version}"',
            "Last_Modified": "Sat, 21 Nov 2026 10:00:00 GMT",
            "Accept_Ranges": "bytes",
        }
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
        if found is None:
            self._send(200, body, **tags)
            return
        size = len(body)
        if found[1]:
            begin, end = int(found[1]), min(int(found[2]) + 1 if found[2] else size, size)
        else:
            begin, end = max(0, size - int(found[2])), size
        self._send(206, body[begin:end], Content_Range=f"bytes {begin}-{end - 1}/{size}", **tags)

    def _names(self, bucket: str, prefix: str) -> list[str]:
        found = (name for name in sorted(self.web.files) if name.startswith(f"{bucket}/{prefix}"))
        return [name.removeprefix(f"{bucket}/") for name in found]

    def _azure(self, bucket: str, prefix: str) -> bytes:
        blobs = "".join(
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>Sat, 21 Nov 2026 10:00:00 GMT</Last-Modified>"
            f"<Etag>1</Etag><Content-Type>application/octet-stream</Content-Type><Content-Length>{len(self.web.files[f'{bucket}/{name}'])}</Content-Length></Properties></Blob>"
            for name in self._names(bucket, prefix)
        )
        return f"<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>".encode()

    def _listing(self, bucket: str, prefix: str) -> bytes:
        names = self._names(bucket, prefix)
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-11-21T10:00:00.000Z</LastModified>"
            f"<ETag>&quot;1&quot;</ETag><Size>{len(self.web.files[f'{bucket}/{name}'])}</Size></Contents>"
            for name in names
        )
        return (
            f'<?xml version="1.0"?><ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>'
            f"<KeyCount>{len(names)}</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
        ).encode()


@contextmanager
def serving() -> Iterator[Web]:
    """Serve until the end of the block."""
    web = Web()
    handler = type("Handler", (_Handler,), {"web": web})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        web.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()
