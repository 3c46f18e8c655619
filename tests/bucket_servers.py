"""Servers of object storage on the loopback (moto's S3, an emulator of Google's), and before each one that counts, and
that fails as it is told."""

import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import fsspec
import pytest

BUCKET = "videos"
HOP = {"connection", "transfer-encoding", "content-length", "server", "date"}  # headers of one connection only
READS = {"s3": rf"/{BUCKET}/([^?]+)", "gs": rf"/download/storage/v1/b/{BUCKET}/o/([^?]+)\?alt=media"}


class BucketServer:
    """`address`: of the bucket. `asked`: (method, path) of the requests. `answer`: may harm one, and then says so."""

    def __init__(self, protocol: str, behind: str) -> None:
        self.protocol, self.address = protocol, f"{protocol}://{BUCKET}"
        self.asked: list[tuple[str, str]] = []
        self.answer: Any = lambda handler, data: False
        self.over = threading.Event()
        self.creating = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((self.command, self.path))
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if "ifGenerationMatch=0" in self.path:
                    with outer.creating:
                        said, data = self.create(body)
                else:
                    said, data = self.ask(self.command, self.path, body)
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

            def ask(self, method: str, path: str, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
                connection = http.client.HTTPConnection(behind)
                connection.request(method, path, body, dict(self.headers))
                said = connection.getresponse()
                data = said.read()
                connection.close()
                return said, data

            def create(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
                """Google's storage writes no object that is there; the emulator does not know this condition."""
                name = re.search(rb'"name": "([^"]+)"', body)
                assert name
                said, data = self.ask("GET", f"/storage/v1/b/{BUCKET}/o/{name[1].decode().replace('/', '%2F')}", b"")
                if said.status == 404:
                    return self.ask(self.command, self.path, body)
                said.status = 412
                return said, data

            do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def read_by(self, method: str, path: str) -> str:
        """The name of the object whose bytes a request asks for; "" if for none."""
        match = re.fullmatch(READS[self.protocol], path) if method == "GET" else None
        return unquote(match[1]) if match else ""

    def got(self, ending: str) -> list[str]:
        """The objects with this ending whose bytes were asked for."""
        return [name for asked in self.asked if (name := self.read_by(*asked)).endswith(ending)]


@contextmanager
def serving(protocol: str, behind: str, environment: dict[str, str]) -> Iterator[BucketServer]:
    """A server before another, and the environment that leads to it."""
    server = BucketServer(protocol, behind)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environment.items():
            patched.setenv(name, value.format(f"http://127.0.0.1:{server.http.server_port}"))
        # fsspec keeps file systems, and with them the address of the server that another file's tests had
        fsspec.get_filesystem_class(protocol).clear_instance_cache()
        yield server
    server.http.shutdown()
    server.http.server_close()


@contextmanager
def s3() -> Iterator[BucketServer]:
    """A bucket of S3."""
    import boto3
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    with serving("s3", f"{host}:{port}", {"AWS_ENDPOINT_URL": "{}", "AWS_MAX_ATTEMPTS": "1"} | credentials) as server:
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield server
    moto.stop()


@contextmanager
def google() -> Iterator[BucketServer]:
    """A bucket of Google Cloud Storage."""
    from gcp_storage_emulator.server import create_server

    emulator = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    emulator.start()
    while emulator._api._httpd is None:
        time.sleep(0.01)
    behind = f"127.0.0.1:{emulator._api._httpd.server_port}"
    # without the second gcsfs asks over gRPC, which the emulator does not speak, for the kind of the bucket
    environment = {"STORAGE_EMULATOR_HOST": "{}", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    with serving("gs", behind, environment) as server, pytest.MonkeyPatch.context() as patched:
        patched.setattr("gcsfs.retry.is_retriable", lambda error: False)  # as AWS_MAX_ATTEMPTS
        yield server
    emulator.stop()


RUNNING = {"s3": s3, "gs": google}
