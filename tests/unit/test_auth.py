"""Signed calls: what is covered, and who is refused."""

from __future__ import annotations

import pytest

from common.auth import CLUSTER, FROM, SIGNATURE, Signer
from common.errors import Problem

SENDER = Signer("order-1", "s" * 32)
RECEIVER = Signer("catalog-1", "s" * 32)
CALL = ("catalog-1", "POST", "/operations?x=1", "5f0c", b'{"key":"k"}')


def refused(headers: dict[str, str], method: str, target: str, body: bytes) -> bool:
    with pytest.raises(Problem) as caught:
        RECEIVER.check(headers, method, target, body)
    return caught.value.code == "unauthorized"


def test_a_call_arrives_under_its_senders_name() -> None:
    """`check` gives the sender back."""
    headers = SENDER.headers(*CALL)
    assert RECEIVER.check(headers, "POST", "/operations?x=1", b'{"key":"k"}') == "order-1"


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PUT", "/operations?x=1", b'{"key":"k"}'),
        ("POST", "/operations?x=2", b'{"key":"k"}'),
        ("POST", "/operations", b'{"key":"k"}'),
        ("POST", "/operations?x=1", b'{"key":"l"}'),
        ("POST", "/operations?x=1", b""),
    ],
)
def test_an_altered_call_is_refused(method: str, target: str, body: bytes) -> None:
    """Method, path, query and body are all signed."""
    assert refused(SENDER.headers(*CALL), method, target, body)


@pytest.mark.parametrize("name", [FROM, CLUSTER, SIGNATURE])
@pytest.mark.parametrize("value", ["other", "", "\xff"])
def test_an_altered_header_is_refused(name: str, value: str) -> None:
    """So are the sender and the cluster, whatever bytes the signature is made of."""
    headers = SENDER.headers(*CALL) | {name: value}
    assert refused(headers, "POST", "/operations?x=1", b'{"key":"k"}')


def test_a_call_for_another_node_is_refused() -> None:
    """Nobody can hand on what it was sent."""
    headers = SENDER.headers("catalog-2", *CALL[1:])
    assert refused(headers, "POST", "/operations?x=1", b'{"key":"k"}')


def test_a_call_under_another_secret_is_refused() -> None:
    """The secret is what makes a cluster."""
    headers = Signer("order-1", "t" * 32).headers(*CALL)
    assert refused(headers, "POST", "/operations?x=1", b'{"key":"k"}')


def test_an_unsigned_call_is_refused() -> None:
    """No headers, no entry."""
    assert refused({}, "POST", "/operations?x=1", b"")
