"""Puts the shop together: its pages, who may send its forms, and what its templates can say."""

from __future__ import annotations

from flask import Blueprint, Flask

from frontend.reads import Answer
from frontend.serving import Serving
from frontend.shop import mistakes, words
from frontend.shop.cover import cover
from frontend.shop.origin import require_own_page
from frontend.shop.shelves import Shelves, topic_url
from frontend.shop.till import Till

TITLE_CHARS = 120  # in a list: more is on the book's own page


def register(app: Flask, serving: Serving) -> None:
    """Open the shop in an app that has the public calls already."""
    shop = Blueprint("shop", __name__)
    shop.before_request(require_own_page)
    Shelves(serving.reads).register(shop)
    Till(serving).register(shop)
    mistakes.explain_all(shop)
    mistakes.register(app)
    app.register_blueprint(shop)
    app.jinja_env.filters.update(
        capitalised=words.capitalised,
        counted=words.counted,
        in_stock=words.in_stock,
        money=words.money,
        name=words.name,
        people=words.people,
        served=served,
        shortened=words.shortened,
        topic_url=topic_url,
    )
    app.jinja_env.globals.update(cover=cover, title_chars=TITLE_CHARS)


def served(answer: Answer) -> str:
    """Say who answered what a page shows."""
    source = "from its cache" if answer.hit else "from its own shelves"
    return f"Answered by {answer.node}, {source}."
