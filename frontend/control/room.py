"""What a tab of the control room is made of: its page, the data it asks for, the actions it has.

Law: whatever is added here is behind the login. A page is `templates/ops/<name>.html` with the
script `static/ops/<name>.js`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response

from frontend.control.login import Login
from frontend.page import page

View = Callable[..., Any]


@dataclass(frozen=True)
class Tab:
    """A page of the control room, as the others link to it."""

    name: str
    title: str
    path: str


class Room:
    """Adds tabs to an app; `node` is the frontend that shows them."""

    def __init__(self, app: Flask, login: Login, node: str) -> None:
        self._app = app
        self._login = login
        self._node = node
        self._tabs: list[Tab] = []
        login.register(app)

    def tab(self, name: str, title: str, path: str = "") -> None:
        """Add a page; the tabs stand in the order in which they were added."""
        tab = Tab(name, title, path or f"/ops/{name}")
        self._tabs.append(tab)

        def show() -> Response:
            return page(f"ops/{name}.html", tabs=self._tabs, tab=tab, node=self._node)

        self._add("GET", tab.path, show)

    def data(self, rule: str, view: View) -> None:
        """Answer `GET /ops/data/<rule>` with a view's JSON."""
        self._add("GET", f"/ops/data/{rule}", view)

    def action(self, rule: str, view: View) -> None:
        """Have a view do `POST /ops/do/<rule>`."""
        self._add("POST", f"/ops/do/{rule}", view)

    def _add(self, method: str, path: str, view: View) -> None:
        self._app.add_url_rule(path, path, self._login.required(view), methods=[method])
