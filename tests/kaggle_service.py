"""A stand-in for Kaggle on loopback, spoken to by Kaggle's real client: it answers as the service does, and fails on demand.

The client knows a service on http://localhost (`ENVIRONMENT`); `point_the_client` tells it on which port.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlparse

from kagglesdk import kaggle_env

ENVIRONMENT = {"KAGGLE_API_ENVIRONMENT": "LOCALHOST"}
GET_DATASET = "/api/v1/datasets.DatasetApiService/GetDataset"
DOWNLOAD = "/api/v1/datasets.DatasetApiService/DownloadDataset"


@dataclass
class Kaggle:
    """One data set, `some/cells`, whose archive is `archive`."""

    archive: bytes
    version: int = 3
    token: str = ""  # the only credential that is let in; "" lets everybody in
    drops: list[int] = field(default_factory=list)  # bytes after which the next downloads are cut off
    stalls: int = 0  # bytes after which the next download is silent
    refuses: int = 0  # a status for every call
    forged: int = 0  # downloads whose checksum does not match
    total_bytes: int | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    resumed: threading.Event = field(default_factory=threading.Event)
    served: list[tuple[str, int]] = field(default_factory=list)  # (Range header, bytes sent) of every download

    def __enter__(self) -> Self:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = urlparse(self.path).path
                if service.refuses:
                    self.answer(service.refuses, {"code": service.refuses, "message": "refused"})
                elif service.token and self.headers.get("Authorization") != f"Bearer {service.token}":
                    self.answer(401, {"code": 401, "message": "Unauthenticated"})
                elif path == GET_DATASET:
                    size = len(service.archive) if service.total_bytes is None else service.total_bytes
                    self.answer(200, {"currentVersionNumber": service.version, "totalBytes": size})
                elif path == DOWNLOAD:
                    self.send_response(302)
                    self.send_header("Location", f"{service.address}/storage/archive.zip")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    self.answer(404, {"code": 404, "message": "no such call"})

            def answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                asked = self.headers.get("Range", "")
                start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
                body = service.archive[start:]
                checksum = hashlib.md5(service.archive).digest()
                if service.forged:
                    service.forged -= 1
                    checksum = b"\0" * 16
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("X-Goog-Hash", f"md5={base64.b64encode(checksum).decode()}")
                self.end_headers()
                # the client reads its first answer's headers only, then asks for the rest with a Range
                stall_at, service.stalls = service.stalls, 0
                cut = stall_at or (service.drops.pop(0) if service.drops else len(body))
                sent = 0
                with suppress(OSError):
                    while sent < min(cut, len(body)):
                        sent += self.wfile.write(body[sent : min(cut, len(body), sent + 65536)])
                    if 0 < stall_at <= sent:
                        service.stalled.set()
                        service.resumed.wait()
                service.served.append((asked, sent))
                if cut < len(body):
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.resumed.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"


def point_the_client(address: str) -> None:
    """Have this process's client of Kaggle take `address` for the service on this machine."""
    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.LOCAL] = address
