"""An S3 server on the loopback (moto's), and one before it that counts, and that fails as it is told."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

BUCKET = "videos"
HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}  # headers of one connection only


class S3:
    """`address`: of the bucket. `asked`: (method, path) of the requests. `answer`: may harm one, and then says so."""

    def __init__(self, behind: str) -> None:
        self.address = f"s3://{BUCKET}"
        self.asked: list[tuple[str, str]] = []
        self.answer: Any = lambda handler, data: False
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((self.command, self.path))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                connection = http.client.HTTPConnection(behind)
                connection.request(self.command, self.path, body, dict(self.headers))
                said = connection.getresponse()
                data = said.read()
                if outer.answer(self, data):
                    return
                self.send_response(said.status)
                for name, value in said.getheaders():
                    if name.lower() not in HOP:
                        self.send_header(name, value)
                size = said.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", size or "0")
                self.end_headers()
                self.wfile.write(data)

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def got(self, ending: str) -> list[str]:
        """The paths with this ending that were asked for."""
        return [path for method, path in self.asked if method == "GET" and path.endswith(ending)]


@contextmanager
def running() -> Iterator[S3]:
    """The servers, and the environment that leads to them."""
    import boto3
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    server = S3(f"{host}:{port}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.http.server_port}")
        patched.setenv("AWS_ACCESS_KEY_ID", "test")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patched.setenv("AWS_MAX_ATTEMPTS", "1")
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield server
    server.http.shutdown()
    server.http.server_close()
    moto.stop()
