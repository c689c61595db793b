"""Shows a page of the shop, with what is in the visitor's basket at its head.

Law: a page may be kept by its reader's browser only, which asks again each time (it holds a basket,
and stock); what is about a person is kept by nobody.
"""

from __future__ import annotations

from typing import Any

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from frontend.incoming import is_known
from frontend.page import page
from frontend.shop import basket
from frontend.shop.basket import Held


def show(
    template: str,
    status: int = 200,
    *,
    personal: bool = False,
    held: Held | None = None,
    **context: Any,
) -> Response:
    """Return a page of `templates/shop/`; `personal`: about somebody's basket or order; `held`: the
    basket, if it is another than the one they came with.
    """
    copies = sum((basket_held() if held is None else held).lines.values())
    response = page(f"shop/{template}", status, in_basket=copies, **context)
    if personal or status != 200:
        response.headers["Cache-Control"] = "no-store"
        return response
    response.headers["Cache-Control"] = "private, no-cache"
    response.add_etag()
    if is_known(response.headers["ETag"], request.headers.get("If-None-Match")):
        response.status_code = 304
        response.set_data(b"")
    return response


def basket_held() -> Held:
    """Return the basket that the visitor brought."""
    return basket.brought(request.cookies.get(basket.COOKIE, ""))


def keep_basket(response: BaseResponse, held: Held) -> None:
    """Give the visitor this basket to keep."""
    response.set_cookie(
        basket.COOKIE,
        basket.kept(held),
        max_age=basket.DAYS_KEPT * 24 * 3600 if held.lines else 0,
        httponly=True,
        samesite="Lax",
        secure=request.is_secure,
    )
