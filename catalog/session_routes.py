"""The sessions of the frontends, which only the leader grants. Shapes: docs/wire.md.

Law: a session's lease never outlives this node's own right to answer.
"""

from __future__ import annotations

from collections.abc import Collection

from flask import Flask, Response, g

from catalog.node import Node
from catalog.sessions import Renewal
from common.errors import Problem
from common.web import json_answer


def add_sessions(app: Flask, node: Node, frontends: Collection[str]) -> None:
    """Add the sessions of the frontends that are configured."""

    @app.post("/sessions")
    def register() -> Response:
        now, epoch = node.clock.now(), _leading(node)
        if g.sender not in frontends:  # it could never be told what to forget
            raise Problem("invalid-request", f"{g.sender} is no frontend of {node.name}'s settings")
        session = f"{node.random.getrandbits(96):024x}"
        floors = node.sessions.register(session, g.sender, epoch, now)
        try:
            lease_s = _lease_s(
                node
            )  # after it counts: who hands over looks for it before that ends
        except Problem:
            node.sessions.surrender(session)
            raise
        return json_answer({
            "session": session, "epoch": epoch, "lease_s": lease_s, "floors": floors,
            "leader": node.name,
        })  # fmt: skip

    @app.post("/sessions/<session>/renew")
    def renew(session: str) -> Response:
        epoch = _leading(node)
        if node.yielding_to:  # it is given back at once, and asked for again at the next leader
            raise Problem("unknown-session", f"{node.name} hands over to {node.yielding_to}")
        renewal = node.sessions.renew(session, epoch, node.clock.now())
        if renewal is Renewal.UNKNOWN:
            raise Problem("unknown-session", renewal.value)
        if renewal is Renewal.UNACKNOWLEDGED:
            raise Problem("unavailable", renewal.value)
        return json_answer({"lease_s": _lease_s(node)})

    @app.post("/sessions/<session>/surrender")
    def surrender(session: str) -> Response:
        node.sessions.surrender(session)
        return json_answer({})


def _lease_s(node: Node) -> float:
    """Return how long a cache may be used: never longer than this node itself may answer."""
    if node.yielding_to:
        raise Problem("unavailable", f"{node.name} hands over to {node.yielding_to}")
    left_s = node.lease_left_s
    if left_s <= 0:
        raise Problem("unavailable", f"{node.name} has no read lease itself")
    return min(node.lease_s, left_s)


def _leading(node: Node) -> int:
    """Return the epoch this node leads; raise `not-leader`."""
    with node.lock:
        if not node.leads:
            raise Problem("not-leader", f"{node.name} is {node.status}", leader=node.leader)
        return node.epoch
