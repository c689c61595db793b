"""Signing and checking calls between services: HMAC-SHA256 under the cluster's secret.

Law: the signature covers sender, receiver, method, path with query, cluster and body, so a call
altered on the way, or sent on to another node, is refused. A replayed call is harmless by
protocol: every internal call may arrive twice.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol

from common.errors import Problem

FROM, TO, CLUSTER, SIGNATURE = "Bazar-From", "Bazar-To", "Bazar-Cluster", "Bazar-Signature"


class Headers(Protocol):
    """Header values by name: a mapping, or Werkzeug's headers."""

    def get(self, name: str, default: str, /) -> str:
        """Return a header's value, or the default."""


class Signer:
    """Signs what `node` sends and checks what it receives."""

    def __init__(self, node: str, secret: str) -> None:
        self.node = node
        self._secret = secret.encode()

    def headers(
        self, to: str, method: str, target: str, cluster: str, body: bytes
    ) -> dict[str, str]:
        """Return the headers that sign one call; `target` is the path with its query."""
        signature = self._sign(self.node, to, method, target, cluster, body)
        return {FROM: self.node, TO: to, CLUSTER: cluster, SIGNATURE: signature}

    def check(self, headers: Headers, method: str, target: str, body: bytes, ours: str = "") -> str:
        """Return the sender's name; raise `unauthorized` unless the call was signed for this node,
        `foreign-cluster` if both sides know their cluster and it is not the same.
        """
        sender, cluster = headers.get(FROM, ""), headers.get(CLUSTER, "")
        expected = self._sign(sender, self.node, method, target, cluster, body)
        given = headers.get(SIGNATURE, "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, expected.encode()):
            raise Problem(
                "unauthorized", f"this call is not signed for {self.node} with the cluster's secret"
            )
        if cluster and ours and cluster != ours:
            detail = f"the caller belongs to cluster {cluster}, this node to {ours}"
            raise Problem("foreign-cluster", detail)
        return sender

    def _sign(
        self, sender: str, to: str, method: str, target: str, cluster: str, body: bytes
    ) -> str:
        head = "\n".join((sender, to, method, target, cluster)).encode("utf-8", "surrogateescape")
        signed = head + b"\n\n" + hashlib.sha256(body).digest()
        return hmac.digest(self._secret, signed, "sha256").hex()
