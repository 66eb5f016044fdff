"""A real nginx on the template in deploy/, and services of the tests' own for it to stand before."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from services.cli.system import free_port
from tests.servers import wait_until

TEMPLATE = Path(__file__).parents[1] / "deploy" / "nginx.conf"
SERVICES = ("cart", "checkout", "orders", "storefront")


class Nginx:
    """nginx over `upstreams` (service -> host:port). `edit` may change the finished text, for shorter waits."""

    def __init__(
        self,
        folder: Path,
        upstreams: dict[str, str],
        edit: Callable[[str], str] = str,
        port: int | None = None,
        **variables: str,
    ) -> None:
        binary = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/bin")
        if binary is None:
            pytest.skip("nginx is not installed")
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        known = {
            **{f"{service.upper()}_UPSTREAM": upstreams[service] for service in SERVICES},
            "LISTEN": f"127.0.0.1:{self.port}",
            "TILLROLL_ORIGINS": "*",
            "RATE_PER_SECOND": "10000",
            "RATE_BURST": "10000",
            "NGINX_TEMP": str(folder),
            "TRUSTED_PROXY": "192.0.2.1",
            **variables,
        }
        conf = folder / "nginx.conf"
        conf.write_text(edit(fill_in(TEMPLATE.read_text(), known)))
        as_root = " user root;" if os.geteuid() == 0 else ""  # the workers, too, must reach pytest's own folders
        argv = [binary, "-p", str(folder), "-c", str(conf), "-g", f"daemon off;{as_root}"]
        self.log = folder / "nginx.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self._answers, f"nginx answers; its log is {self.log}")

    def stop(self) -> None:
        """Ends nginx and its workers."""
        self._process.terminate()
        self._process.wait(10)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/health").status_code == 200
        except httpx.TransportError:
            return False


def fill_in(template: str, variables: dict[str, str]) -> str:
    """What envsubst does; a variable that nobody gave is an error."""
    return re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], template)


class EchoService:
    """Answers every request with its own name and what it was sent; `answer` may be set to something else."""

    def __init__(self, name: str) -> None:
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.answer: Callable[[BaseHTTPRequestHandler], None] | None = None
        service = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                service.connections += 1

            def parse_request(self) -> bool:
                is_request = super().parse_request()
                if is_request:
                    service._note(self)
                    self.command = "ANY"
                return is_request

            def do_ANY(self) -> None:
                if service.answer is not None:
                    service.answer(self)
                else:
                    send(self, 200, {"service": name, **service.requests[-1]})

            def log_message(self, *_args: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()

    def _note(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(
            {"method": request.command, "target": request.path, "headers": headers, "body": body.decode("latin-1")}
        )


def send(request: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    """An answer of an EchoService."""
    content = json.dumps(body).encode()
    request.send_response(status)
    for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def send_raw(url: str, request: bytes, seconds: float = 10) -> bytes:
    """What the server answers to bytes that no HTTP client would send, until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received
