"""A collector for tests: takes OTLP over HTTP and keeps every span as it was exported."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers import wait_until


@dataclass(frozen=True)
class Exported:
    """One span; ids are hex."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    links: tuple[tuple[str, str], ...]
    told: str = field(repr=False)
    """All of it as text."""


class Collector:
    """What has arrived so far."""

    def __init__(self, port: int) -> None:
        self.environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",  # ms
        }
        self.spans: list[Exported] = []

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            self.spans += [_exported(service, span) for scope in resource.scope_spans for span in scope.spans]

    def find(self, name: str, trace_id: str | None = None, **attributes: Any) -> list[Exported]:
        """The spans of that name whose attributes (dots as underscores) have these values."""
        return [
            span
            for span in self.spans
            if span.name == name
            and trace_id in (None, span.trace_id)
            and attributes.items() <= {key.replace(".", "_"): value for key, value in span.attributes.items()}.items()
        ]

    def wait_for(self, name: str, count: int = 1, **wanted: Any) -> list[Exported]:
        """The same, once there are so many."""
        wait_until(lambda: len(self.find(name, **wanted)) >= count, f"{count} spans {name!r} with {wanted}")
        return self.find(name, **wanted)

    def path_to(self, span: Exported) -> list[str]:
        """The names from the root of its trace down to `span`."""
        by_id = {one.span_id: one for one in self.spans}
        path = [span.name]
        while (parent := by_id.get(span.parent_id)) is not None:
            path.insert(0, parent.name)
            span = parent
        return path


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens until the end of the block."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as server:
        collector = Collector(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()


def _exported(service: str, span: Any) -> Exported:
    links = tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links)
    ids = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
    return Exported(service, span.name, *ids, _values(span.attributes), links, str(span))


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
