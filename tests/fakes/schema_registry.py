"""A small schema registry: subjects, ids and GUIDs, as Confluent's REST API has them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Registry:
    """The schemas that are registered. ``with_guids`` False: an older registry."""

    def __init__(self, *, with_guids: bool = True) -> None:
        self.with_guids = with_guids
        self.texts: list[str] = []
        """The schema with id N is at N - 1."""
        self.subjects: dict[str, int] = {}
        self.refused = ""
        """A subject that it refuses."""
        self.requests: list[str] = []
        self.url = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The answer to one request."""
        self.requests.append(f"{method} {path}")
        path = path.partition("?")[0]
        kind, _, rest = path.removeprefix("/").partition("/")
        if kind == "schemas":
            return self._schema(rest)
        subject = rest.removesuffix("/versions")
        if rest.endswith("/versions"):
            return self._register(subject, body["schema"])
        number = self.subjects.get(subject)
        if number is None:
            return 404, {"error_code": 40401, "message": f"Subject '{subject}' not found."}
        if self.texts[number - 1] != body["schema"]:
            return 404, {"error_code": 40403, "message": "Schema not found"}
        return 200, self._described(subject, number)

    def _register(self, subject: str, text: str) -> tuple[int, dict[str, Any]]:
        if subject == self.refused:
            return 409, {"error_code": 409, "message": "incompatible with an earlier schema"}
        if text not in self.texts:
            self.texts.append(text)
        number = self.subjects[subject] = self.texts.index(text) + 1
        return 200, self._described(subject, number)

    def _schema(self, rest: str) -> tuple[int, dict[str, Any]]:
        by, _, text = rest.partition("/")
        numbers = range(1, len(self.texts) + 1)
        number = int(text) if by == "ids" else next(each for each in numbers if self._guid(each) == text)
        return 200, {"schema": self.texts[number - 1], "schemaType": "JSON"}

    def _described(self, subject: str, number: int) -> dict[str, Any]:
        found = {"subject": subject, "version": 1, "id": number, "schema": self.texts[number - 1], "schemaType": "JSON"}
        return found | ({"guid": self._guid(number)} if self.with_guids else {})

    @staticmethod
    def _guid(number: int) -> str:
        return str(uuid.UUID(int=number))


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """The registry on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", {})

        def do_POST(self) -> None:
            self._answer("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, method: str, body: dict[str, Any]) -> None:
            status, answer = registry.answer(method, self.path, body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """The test reads ``requests``."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        registry.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
