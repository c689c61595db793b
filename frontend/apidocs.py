"""Answers the description of the API, for machines at `/openapi.json` and for people at `/docs`."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from flask import Flask, Response

from common.web import json_answer, query
from frontend import page
from frontend.openapi import document


class ApiDocs:
    """The description of one app; what is described is what the app has when it is first asked."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def register(self) -> None:
        """Give the app the two calls."""
        self._app.get("/openapi.json")(self.openapi)
        self._app.get("/docs")(self.docs)

    @cached_property
    def _document(self) -> dict[str, Any]:
        return document(self._app)

    def openapi(self) -> Response:
        """Answer the description of the public API as an OpenAPI 3.1 document."""
        query(())
        return json_answer(self._document)

    def docs(self) -> Response:
        """Answer the page on which people read it and try it out."""
        query(())
        answer = page.page("docs.html", calls=self._document["paths"])
        # Swagger UI's style sheet draws its arrows with images that stand in it: no script can come
        # in that way, and it is for this page only.
        policy = page.POLICY.replace("img-src 'self'", "img-src 'self' data:")
        answer.headers["Content-Security-Policy"] = policy
        return answer
