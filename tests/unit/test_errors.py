"""The table of errors: the same problem on both sides of the wire."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import INTERNAL, PUBLIC, TABLE, Problem, parse, unexpected


@pytest.mark.parametrize("code", TABLE)
def test_a_problem_survives_the_wire(code: str) -> None:
    """What the server raised is what the caller raises."""
    sent = Problem(code, "the detail", leader="catalog-2", nothing=None)
    got = parse(json.dumps(sent.body()).encode())
    assert got is not None
    assert (got.code, got.status, got.title) == (sent.code, sent.status, sent.title)
    assert (got.detail, got.members) == (sent.detail, sent.members)


@pytest.mark.parametrize("code", TABLE)
def test_a_problem_document_is_rfc_9457(code: str) -> None:
    """The standard members, with our stable code beside them."""
    body = Problem(code, "why").body()
    assert body["type"] == "about:blank"
    assert (body["status"], body["title"]) == TABLE[code]
    assert (body["code"], body["detail"]) == (code, "why")
    assert Problem(code, "why").headers()["Content-Type"] == "application/problem+json"


def test_public_and_internal_codes_are_apart() -> None:
    """A code means one thing."""
    assert not PUBLIC.keys() & INTERNAL.keys()


@pytest.mark.parametrize("code", TABLE)
def test_who_may_come_back_is_told_when(code: str) -> None:
    """503 and 429 carry Retry-After, nothing else does."""
    waits = TABLE[code][0] in (429, 503)
    assert Problem(code, "why", retry_after_s=3).headers().get("Retry-After") == (
        "3" if waits else None
    )


def test_an_unauthorized_answer_names_the_scheme() -> None:
    """RFC 9110 wants WWW-Authenticate with every 401."""
    assert Problem("unauthorized", "why").headers()["WWW-Authenticate"] == "Bearer"


def test_no_problem_is_a_500() -> None:
    """Every failure says what the client may do about it."""
    assert 500 not in {status for status, _ in TABLE.values()}


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"code":"sold-out"}', b'{"code":"x","detail":""}', b"\xff"],
)
def test_what_is_not_ours_is_no_problem(body: bytes) -> None:
    """A proxy's page, another program's error."""
    assert parse(body) is None


DOCUMENTS = st.recursive(
    st.none() | st.text() | st.sampled_from(sorted(TABLE)),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["code", "detail", "self", "x"]), inner)
    ),
)


@given(body=st.binary() | DOCUMENTS.map(lambda document: json.dumps(document).encode()))
def test_parsing_never_fails(body: bytes) -> None:
    """Any bytes give a problem or None."""
    problem = parse(body)
    assert problem is None or problem.code in TABLE


def test_an_unexpected_error_is_honest() -> None:
    """A read may be tried again; of a write nobody can say whether it happened."""
    assert unexpected("GET", None).code == "unavailable"
    write = unexpected("POST", "key-1")
    assert (write.code, write.members) == ("outcome-unknown", {"idempotency_key": "key-1"})
