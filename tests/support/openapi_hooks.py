"""What schemathesis is told that a JSON Schema cannot say (loaded by it: SCHEMATHESIS_HOOKS).

Three rules of the API are about what went before, or about two places at once. Each is tested
elsewhere; here a request that is well-formed is brought to keep them, so that it must be accepted.
"""

from __future__ import annotations

import secrets
from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext

KEY, CURSOR, LINES, SKU = "Idempotency-Key", "after", "items", "sku"


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Make a well-formed request one that is new, and whose cursor and basket are in order."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    fresh = f"schemathesis-{secrets.token_hex(8)}"
    if case.headers and KEY in case.headers:  # a key that was used for another request is refused
        case.headers[KEY] = fresh
    if case.query and CURSOR in case.query:  # only `next` of a page is a cursor of its list
        del case.query[CURSOR]
    if isinstance(case.body, dict):
        if LINES in case.body:  # a book stands on one line of a basket
            each = {line["book_id"]: line for line in case.body[LINES]}
            case.body[LINES] = list(each.values())
        if case.body.get(SKU) is not None:  # no two books share one
            case.body[SKU] = fresh
