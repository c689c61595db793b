"""Lets only the shop's own pages change a basket or buy (decision 14).

Law: a browser that says the form came from elsewhere is believed. Who says nothing is no browser of
the last years, carries nobody's basket, and may do what `POST /orders` lets everybody do.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import request

from common.errors import Problem

OURS = ("same-origin", "none")  # none: the visitor's own doing, such as a reload
SAFE = ("GET", "HEAD", "OPTIONS")


def require_own_page() -> None:
    """Raise `invalid-request` when a form was sent from another site's page."""
    if request.method not in SAFE and not _is_ours():
        raise Problem("invalid-request", "This form was not sent from a page of this shop.")


def _is_ours() -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in OURS
    origin = request.headers.get("Origin")  # all that a browser sends where there is no TLS
    return origin is None or urlsplit(origin).netloc == request.host
