"""Serves one model file on 127.0.0.1, whole or from a byte on (RFC 9110 §14), as a download that goes on needs it."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content = b""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        total = len(self.content)
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(match[1]) if match and self.headers.get("If-Range") == '"1"' else 0
        body = self.content[start:]
        self.send_response(416 if start >= total else 206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes */{total}" if not body else f"bytes {start}-{total - 1}/{total}")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)
        self.close_connection = True


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[str]:
    """The address of the file while the block runs."""
    handler = type("Handler", (_Handler,), {"content": content})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/small-model.gguf"
        finally:
            server.shutdown()
            thread.join()
