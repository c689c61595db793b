"""The tab where a demo is broken and mended; it is there only under `make demo`.

Law: this frontend only passes on: what was asked goes, signed, to the demo's controller, and only
for an operator.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Response, request

from common.auth import Signer
from common.config import Settings
from common.errors import Problem
from common.peer import Http, Peer, PeerDown
from common.web import json_answer, json_object, query
from frontend.control.room import Room

CONTROLLER = "demo"
STATE_S, ACTION_S = 1.0, 5.0


class Faults:
    """The page `/ops/faults`, its data and its actions."""

    def __init__(self, controller: Peer) -> None:
        self._controller = controller

    def register(self, room: Room) -> None:
        """Add the tab."""
        room.tab("faults", "Faults")
        room.data("demo", self.state)
        room.action("fault", partial(self.act, "/fault"))
        room.action("schedule", partial(self.act, "/schedule"))
        room.action("load", partial(self.act, "/load"))

    def state(self) -> Response:
        """Answer all there is to see of the demo."""
        query(())
        return json_answer(self._call("GET", "/state", STATE_S))

    def act(self, path: str) -> Response:
        """Have the controller do something."""
        query(())
        return json_answer(self._call("POST", path, ACTION_S, json_object(request.get_data())))

    def _call(self, method: str, path: str, timeout_s: float, document: Any = None) -> Any:
        try:
            return self._controller.call(
                method, path, timeout_s=timeout_s, document=document
            ).json()
        except (PeerDown, ValueError) as error:
            raise Problem("unavailable", "the demo's controller does not answer") from error


def controller_of(settings: Settings, http: Http, signer: Signer) -> Peer | None:
    """Return the controller of the demo that this frontend is in, if it is in one."""
    if not settings.demo:
        return None
    return Peer(CONTROLLER, settings.demo, http=http, signer=signer, cluster=lambda: "")
