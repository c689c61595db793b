"""The Postman collection: every request in it claims something (tests/system/test_postman.py runs
them).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COLLECTION = Path(__file__).parents[2] / "config" / "bazar.postman_collection.json"

REFUSALS = [
    "invalid-request",
    "unauthorized",
    "not-found",
    "method-not-allowed",
    "sold-out",
    "too-large",
    "idempotency-mismatch",
]


@pytest.fixture(scope="module")
def collection() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(COLLECTION.read_text("utf-8"))
    return document


def requests_in(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "request" in item:
        yield item
    for child in item.get("item", []):
        yield from requests_in(child)


def script(item: dict[str, Any], listen: str) -> str:
    events = [event for event in item.get("event", []) if event["listen"] == listen]
    return "\n".join(line for event in events for line in event["script"]["exec"])


def path_of(item: dict[str, Any]) -> str:
    raw: str = item["request"]["url"]["raw"]
    return raw.partition("?")[0].removeprefix("{{baseUrl}}")


def test_it_is_a_version_2_1_collection(collection: dict[str, Any]) -> None:
    """Postman tells the version by the schema's address."""
    assert collection["info"]["schema"].endswith("/json/collection/v2.1.0/collection.json")
    assert collection["info"]["name"] == "Bazar"


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_a_client_can_provoke_is_in_it(collection: dict[str, Any], code: str) -> None:
    """The codes of `common/errors.py` that do not need a broken cluster."""
    assert any(f'"{code}"' in script(item, "test") for item in requests_in(collection))


def test_every_request_has_a_test_script(collection: dict[str, Any]) -> None:
    """A request without a claim only shows that something answered."""
    silent = [
        item["name"] for item in requests_in(collection) if "pm.test(" not in script(item, "test")
    ]
    assert not silent


def test_every_variable_it_uses_is_declared(collection: dict[str, Any]) -> None:
    """Else Postman sends the braces themselves; `longTitle` lives for one request only."""
    declared = {variable["key"] for variable in collection["variable"]} | {"longTitle"}
    used = set(re.findall(r"\{\{(\w+)\}\}", json.dumps(collection)))
    assert used == declared


def test_a_purchase_is_repeated_under_one_stored_key(collection: dict[str, Any]) -> None:
    """The key is made once and used by two requests, the second of which expects the same order."""
    keyed = [
        item
        for item in requests_in(collection)
        if path_of(item).startswith("/purchase/")
        and {"key": "Idempotency-Key", "value": "{{purchaseKey}}"} in item["request"]["header"]
    ]
    made = [item["name"] for item in keyed if "{{$guid}}" in script(item, "prerequest")]
    assert made == [keyed[0]["name"]]
    assert '.to.eql(pm.collectionVariables.get("orderId"))' in script(keyed[1], "test")


def test_operator_calls_alone_carry_the_token(collection: dict[str, Any]) -> None:
    """A token is sent only where it is needed, and none is written into the file."""
    for item in requests_in(collection):
        auth = item["request"].get("auth")
        public = re.fullmatch(r"/(search|lookup|info|purchase|topics)(/.*)?", path_of(item))
        assert not (auth and public), item["name"]
        assert auth is None or auth["bearer"][0]["value"] == "{{adminToken}}"
    values = {variable["key"]: variable["value"] for variable in collection["variable"]}
    assert values["adminToken"] == ""
    assert values["baseUrl"] == "http://127.0.0.1:8000"
