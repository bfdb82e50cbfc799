"""A fake S3 for tests, at the HTTP boundary: it answers the calls that the tests need."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class Bucket:
    """The objects of bucket `landing`, unfinished multipart uploads, and the server's address."""

    endpoint: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)


def _handler(bucket: Bucket) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            _, _, key = unquote(parts.path).lstrip("/").partition("/")
            if not key:
                return self._list(parse_qs(parts.query))
            if key not in bucket.objects:
                return self._answer(404, b"", {})
            data = bucket.objects[key]
            headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Last-Modified": formatdate(0, usegmt=True)}  # noqa: S324
            wanted = self.headers.get("Range")
            if wanted is None:
                return self._answer(200, data, headers)
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1 if last else None]
            end = int(first) + len(part) - 1
            return self._answer(206, part, {**headers, "Content-Range": f"bytes {first}-{end}/{len(data)}"})

        def do_PUT(self) -> None:
            parts = urlsplit(self.path)
            query, key = parse_qs(parts.query), unquote(parts.path).lstrip("/").partition("/")[2]
            data = self._body()
            if "partNumber" in query:
                bucket.parts.setdefault(key, {})[int(query["partNumber"][0])] = data
            else:
                bucket.objects[key] = data
            self._answer(200, b"", {"ETag": '"1"'})

        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            key = unquote(parts.path).lstrip("/").partition("/")[2]
            self._body()
            what = "InitiateMultipartUploadResult"
            if "uploadId" in parse_qs(parts.query):
                bucket.objects[key] = b"".join(data for _, data in sorted(bucket.parts.pop(key).items()))
                what = "CompleteMultipartUploadResult"
            body = f"<{what}><Bucket>landing</Bucket><Key>{escape(key)}</Key><UploadId>1</UploadId></{what}>"
            self._answer(200, body.encode(), {"Content-Type": "application/xml"})

        def _body(self) -> bytes:
            length = self.headers["Content-Length"]
            body = self.rfile.read(int(length)) if length is not None else _content(self.rfile)
            return _content(BytesIO(body)) if "aws-chunked" in self.headers.get("Content-Encoding", "") else body

        def _list(self, query: dict[str, list[str]]) -> None:
            prefix = query.get("prefix", [""])[0]
            limit = int(query.get("max-keys", ["1000"])[0])
            found = sorted(key for key in bucket.objects if key.startswith(prefix))[:limit]
            contents = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(bucket.objects[key])}</Size>"
                "<LastModified>1970-01-01T00:00:00.000Z</LastModified></Contents>"
                for key in found
            )
            body = (
                '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>landing</Name>'
                f"<KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
            )
            self._answer(200, body.encode(), {"Content-Type": "application/xml"})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Log nothing."""

    return Handler


@contextmanager
def serving() -> Iterator[Bucket]:
    """Serve an empty bucket for a block."""
    found = Bucket()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    found.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _content(stream: BinaryIO) -> bytes:
    """Read a body in chunks: those of HTTP, or those of S3, each signed or with a checksum at the end."""
    parts = []
    while size := int(stream.readline().partition(b";")[0], 16):
        parts.append(stream.read(size))
        stream.readline()
    while stream.readline().strip():  # lines after the last chunk
        pass
    return b"".join(parts)
