"""Pages and the files they use: what a browser may keep, and what it may run."""

from __future__ import annotations

import pytest
from flask import Flask

from common.errors import Problem
from common.web import problem_response
from frontend import page


@pytest.fixture
def app() -> Flask:
    """An app with nothing but pages' files."""
    app = Flask("frontend", static_folder=None)
    app.register_error_handler(Problem, problem_response)
    page.register(app)
    return app


def test_a_file_is_kept_for_ever_under_the_address_that_names_its_contents(app: Flask) -> None:
    """A changed file has another address; a guessed one is asked for again each time."""
    browser = app.test_client()
    with app.app_context():
        address = page.static_url("base.css")
    lasting, plain = browser.get(address), browser.get("/static/base.css")
    assert lasting.status_code == plain.status_code == 200
    assert "immutable" in lasting.headers["Cache-Control"]
    assert browser.get("/static/base.css?v=other").headers["Cache-Control"] == "no-cache"
    assert plain.headers["Cache-Control"] == "no-cache"
    assert lasting.headers["X-Content-Type-Options"] == "nosniff"
    known = {"If-None-Match": lasting.headers["ETag"]}
    assert browser.get("/static/base.css", headers=known).status_code == 304


@pytest.mark.parametrize("name", ["../app.py", "%2e%2e/app.py", "nothing.css", ""])
def test_only_the_files_of_pages_are_served(app: Flask, name: str) -> None:
    """No path leads out of the folder."""
    assert app.test_client().get(f"/static/{name}").status_code == 404


def test_a_page_runs_nothing_and_fetches_nothing_from_elsewhere(app: Flask) -> None:
    """The policy is strict, and so are its neighbours."""
    with app.test_request_context():
        response = page.page("base.html")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
