"""Several writes in one message: a list is answered by a list, as in JSON-RPC 2.0, section 6.

Law: each write has its own key and its own answer, what it would have been told alone; what befalls
the message befalls every write in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from common.auth import CLUSTER
from common.compact import compact
from common.errors import Problem, rebuilt
from common.peer import NoAnswer, Peer
from common.trace import Context, Contexts, Value

ATTEMPT = "attempt"  # in the query: the name of one message, another one each time
_NAME = re.compile("[0-9a-f]{1,32}")
WRITES_MAX = 64  # as many as the leader takes into one batch


@dataclass(frozen=True)
class Recorded:
    """What was decided for a key, for ever: the public status and document."""

    status: int
    answer: dict[str, Any]


class Reply(NamedTuple):
    """What a node said of each write, in their order, and the cluster it belongs to."""

    told: list[Recorded | Problem]
    cluster: str


def send(
    peer: Peer, path: str, writes: Sequence[Any], timeout_s: float, attempt: str = "",
    traced: Contexts | None = None,
) -> Reply:  # fmt: skip
    """Send writes in one message; raises what befell the message, as `Peer.call` does. What is
    refused to an `attempt` stays refused to it, should its message arrive twice. `traced` says for
    whom each of them is.
    """
    target = f"{path}?{ATTEMPT}={attempt}" if attempt else path
    noted: dict[str, Value] = {}
    if traced:
        noted = {"bazar.batch_size": len(writes), "bazar.attempt": attempt}
    response = peer.call(
        "POST", target, timeout_s=timeout_s, document=list(writes), traced=traced, noted=noted
    )
    try:
        told = [_told(document) for document in response.json()]
    except (ValueError, TypeError, KeyError, AttributeError):
        told = []
    if len(told) != len(writes):
        raise NoAnswer(f"{peer.name} answered with something that is not ours")
    return Reply(told, response.header(CLUSTER))


def traced(contexts: Sequence[Context | None]) -> Contexts:
    """Return for whom the writes of a message are, from what each of them knows."""
    return {place: one for place, one in enumerate(contexts) if one is not None}


def _told(document: dict[str, Any]) -> Recorded | Problem:
    if "answer" in document:
        return Recorded(int(document["status"]), dict(document["answer"]))
    problem = rebuilt(document)
    if problem is None:
        raise ValueError("neither an outcome nor a problem")
    return problem


def attempt_in(query: Mapping[str, str]) -> str:
    """Return the name of a message that was received; "": it has none."""
    name = query.get(ATTEMPT, "")
    return name if _NAME.fullmatch(name) else ""


def writes_in(document: Any) -> list[Any]:
    """Return the writes of a message that was received."""
    if not isinstance(document, list) or not 1 <= len(document) <= WRITES_MAX:
        raise Problem("invalid-request", f"must be a list of 1 to {WRITES_MAX} writes")
    return document


def recorded_text(status: int, answer: str) -> str:
    """Return a recorded outcome, whose answer is JSON already, as a member of the list."""
    return f'{{"status":{status},"answer":{answer}}}'


def problem_text(problem: Problem) -> str:
    """Return a problem as a member of the list."""
    return compact(problem.body())


def list_text(members: Iterable[str]) -> str:
    """Return the list."""
    return "[" + ",".join(members) + "]"
