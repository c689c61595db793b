"""The browser that tests look with: what a page complains of is noticed, and nothing else is."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from flask import Flask, Response
from playwright.sync_api import Browser

from frontend import page
from tests.support.browser import Look, Visitor, Visitors, accessibility, overflow

GOOD = (
    '<!doctype html><html lang="en"><head><title>Fine</title><meta name="viewport"'
    ' content="width=device-width"><link rel="icon" href="/static/icon.svg"></head>'
    "<body><main><h1>Fine</h1><p>Nothing to see.</p></main></body></html>"
)
WRONG = {
    "inline script": ("<script>alert(1)</script>", "Policy.*script-src"),
    "inline style": ('<p style="color: red">Red</p>', "Policy.*style-src"),
    "file that is missing": ('<img alt="" src="/missing.png">', "404"),
    "address elsewhere": ('<img alt="" src="http://elsewhere.invalid/">', "Policy.*img-src"),
    "exception": ('<script src="/broken.js"></script>', "exception: "),
}


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of a request."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """A site with one page for each thing that may be wrong; its URL."""
    app = Flask("site", static_folder=None)
    page.register(app)
    app.get("/")(lambda: _page(""))
    app.get("/wrong/<what>", endpoint="wrong")(lambda what: _page(WRONG[what][0]))
    app.get("/plain/<what>", endpoint="plain")(_plain)
    app.get("/broken.js", endpoint="broken")(
        lambda: Response("null.nothing", content_type="text/javascript")
    )
    with make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _page(more: str) -> Response:
    html = GOOD.replace("</main>", more + "</main>")
    return Response(html, headers=page.HEADERS, content_type="text/html; charset=utf-8")


BAD = {
    "label": "<input>",
    "color-contrast": '<p><font color="#cccccc" size="5">Hardly to be seen</font></p>',
    "image-alt": '<img src="/static/icon.svg" width="32" height="32">',
    "too wide": '<table width="2000"><tr><td>Wide</td></tr></table>',
}


def _plain(what: str) -> Response:
    return _page(BAD[what])


def test_a_page_without_faults_is_not_complained_of(visitors: Visitors, site: str) -> None:
    """Light and dark, desktop and phone, with and without JavaScript."""
    for look in (Look(), Look("dark", phone=True)):
        tab = visitors.arrive(site, look).tab("/")
        assert accessibility(tab) == []
        assert overflow(tab) == 0
    visitors.arrive(site, javascript=False).tab("/")


@pytest.mark.parametrize("what", WRONG)
def test_what_a_page_complains_of_is_noticed(browser: Browser, site: str, what: str) -> None:
    """Unless it is announced."""
    for announced in ([], ["."]):
        visitor = Visitor(browser, site).expects(*announced)
        visitor.tab(f"/wrong/{what}")
        left = visitor.leave()
        noticed = any(re.search(WRONG[what][1], complaint) for complaint in left)
        assert noticed != bool(announced), left


@pytest.mark.parametrize("rule", [rule for rule in BAD if rule != "too wide"])
def test_what_people_cannot_use_is_noticed(visitors: Visitors, site: str, rule: str) -> None:
    """Axe-core runs although the page's policy forbids scripts that are not its own."""
    tab = visitors.arrive(site).tab(f"/plain/{rule}")
    assert any(found.startswith(rule) for found in accessibility(tab))
    assert not any(found.startswith(rule) for found in accessibility(tab, rule))


def test_a_page_wider_than_a_phone_is_noticed(visitors: Visitors, site: str) -> None:
    """By how much it is wider."""
    assert overflow(visitors.arrive(site, Look(phone=True)).tab("/plain/too wide")) > 1000
