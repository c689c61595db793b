"""The calls by which a catalog is checked (docs/wire.md): what it holds, from any node that runs,
for each answer says which position it is of.
"""

from __future__ import annotations

from flask import Flask, Response

from catalog.audit import Audit
from common.fields import count
from common.web import json_answer, query


def add_audit(app: Flask, audit: Audit) -> None:
    """Give an app these calls; `again` has read what was believed."""

    @app.get("/audit")
    def audit_totals() -> Response:
        if "again" in query(("again",)):
            audit.forget()
        return json_answer(audit.totals())

    @app.get("/audit/ledger")
    def audit_ledger() -> Response:
        return json_answer(audit.ledger(count(query(("upto",)), "upto", 0)))

    @app.get("/audit/rows")
    def audit_rows() -> Response:
        query(())
        return json_answer(audit.rows())
