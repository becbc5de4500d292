"""A web server of static files that does, at chosen paths, what a server should not."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator, Mapping

Misdeed = Callable[[http.server.BaseHTTPRequestHandler, bytes], None]


@contextlib.contextmanager
def serving(files: Mapping[str, bytes], misdeeds: Mapping[str, Misdeed] | None = None) -> Iterator[str]:
    """The address of a server of these files while the block runs. A misdeed answers in the place of its file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.removeprefix("/log/")
            data = files.get(path)
            with contextlib.suppress(ConnectionError):
                if misdeeds and path in misdeeds:
                    self.close_connection = True
                    misdeeds[path](self, data or b"")
                elif data is None:
                    self.send_error(404)
                else:
                    send(self, data)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/log"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def send(
    handler: http.server.BaseHTTPRequestHandler, data: bytes, *, length: int | None = None, **headers: str
) -> None:
    """Answer 200 with these bytes; ``length`` is what the header says, if not theirs."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(data)


def redirect(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/log/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def endless(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    """Sends until nobody listens."""
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(bytes(1 << 16))


def silent(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    time.sleep(1.0)


def drip(handler: http.server.BaseHTTPRequestHandler, data: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        for at in range(min(len(data), 60)):
            handler.wfile.write(data[at : at + 1])
            handler.wfile.flush()
            time.sleep(0.02)


def never_begins(handler: http.server.BaseHTTPRequestHandler, data: bytes) -> None:
    """A header that never ends would do as well: no byte of the answer itself ever comes."""
    with contextlib.suppress(OSError):
        for _ in range(150):
            handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            handler.wfile.flush()
            time.sleep(0.02)
        send(handler, data)


def broken_off(handler: http.server.BaseHTTPRequestHandler, data: bytes) -> None:
    send(handler, data[:-1], length=len(data))


def refused(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
    handler.send_error(503)
