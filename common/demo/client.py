"""HTTP from the controller: kept connections, one call at a time on each.

Law: nothing is ever sent a second time. Whoever asks decides whether to ask again.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage, parse_headers
from typing import Any, NamedTuple

from common.auth import Signer
from common.demo.links import HOST
from common.exchange import written
from common.peer import Request

IDLE_MAX = 64
HEAD_BYTES_MAX = 64 * 1024

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NoAnswer(Exception):
    """Nobody answered; the call may or may not have arrived."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON; raise `NoAnswer` if it is none."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise NoAnswer("not JSON") from error


class Client:
    """Calls one node, at its own address."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{HOST}:{port}"
        self._port = port
        self._idle: list[Stream] = []

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        document: Any = None,
        *,
        timeout_s: float,
    ) -> Answer:
        """Send one call and return its answer, whatever its status; raise `NoAnswer`."""
        body = b"" if document is None else json.dumps(document).encode()
        asked = Request("", self._url, method, target, headers or {}, body, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(written(asked))
        except (OSError, EOFError, ValueError, HTTPException) as error:  # late ones are OSErrors
            raise NoAnswer(type(error).__name__) from error

    async def _exchange(self, data: bytes) -> Answer:
        stream = self._take() or await asyncio.open_connection(HOST, self._port)
        reader, writer = stream
        try:
            writer.write(data)
            answer = await _read(reader)
        except BaseException:
            writer.transport.abort()
            raise
        if answer.headers.get("Connection", "").lower() == "close" or len(self._idle) >= IDLE_MAX:
            writer.close()
        else:
            self._idle.append(stream)
        return answer

    def _take(self) -> Stream | None:
        while self._idle:
            reader, writer = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.close()
        return None

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop()[1].close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    first, _, rest = head.partition(b"\r\n")
    headers = parse_headers(io.BytesIO(rest))
    body = await reader.readexactly(int(headers.get("Content-Length", "0")))
    return Answer(int(first.split()[1]), headers, body)


class SignedClient:
    """Asks one node what only members of the cluster may."""

    def __init__(self, name: str, client: Client, signer: Signer) -> None:
        self._name = name
        self._client = client
        self._signer = signer

    async def get(self, path: str, *, timeout_s: float) -> Any:
        """Return a document; raise `NoAnswer` for whatever else comes."""
        headers = self._signer.headers(self._name, "GET", path, "", b"")
        answer = await self._client.ask("GET", path, headers, timeout_s=timeout_s)
        if answer.status != 200:
            raise NoAnswer(f"status {answer.status}")
        return answer.json()
