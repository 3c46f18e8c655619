"""A file server on the loopback that counts, and that fails as it is told."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

STALL_SEC = 600.0
FAULTS = ("drop", "stall", "truncate", "503")


class Server:
    """Serves a folder, ranges of its files too; `answer` may do something else with a request and then says so."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.sent = folder, 0, 0
        self.answer: Any = lambda handler, data: False
        self.over = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                data = (outer.folder / self.path.lstrip("/")).read_bytes()
                if outer.answer(self, data):
                    return
                asked = self.headers.get("Range")
                if asked:
                    first, last = map(int, asked.removeprefix("bytes=").split("-"))
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
                    data = data[first : last + 1]
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                outer.sent += len(data)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()


class Faulty:
    """An `answer` that does harm to a share of the requests: drops them, stalls, cuts the bytes short, or says 503."""

    def __init__(self, server: Any, share: float, seed: int, faults: tuple[str, ...] = FAULTS) -> None:
        self.server, self.share, self.faults = server, share, faults
        self.rng, self.lock = np.random.default_rng(seed), threading.Lock()
        self.done: list[str] = []

    def __call__(self, handler: Any, data: bytes) -> bool:
        with self.lock:
            if self.rng.random() >= self.share:
                return False
            fault = self.faults[len(self.done) % len(self.faults)]
            self.done.append(fault)
        if fault == "503":
            handler.send_error(503)
        elif fault != "drop":
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[: len(data) // 2])
            handler.wfile.flush()
            if fault == "stall":
                self.server.over.wait(STALL_SEC)
        handler.close_connection = True
        return True


def served(prepared: Path, server: Server, to: Path) -> Path:
    """A copy of a prepared folder without its shards, whose root is the server's address."""
    to.mkdir(parents=True)
    for name in ("manifest.jsonl", "manifest.npy"):
        shutil.copy(prepared / name, to)
    about = json.loads((prepared / "dataset.json").read_text())
    (to / "dataset.json").write_text(json.dumps(about | {"root": server.address}))
    return to
