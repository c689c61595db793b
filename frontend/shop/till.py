"""The basket, the till, and what was ordered.

Law: a form at the till carries its basket's key and lines, so however often and from however many
tabs it is sent, it buys once what stood on it. Only what was bought leaves the basket.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from common.errors import Problem
from common.fields import QUANTITY_MAX, parse_id
from frontend import incoming
from frontend.gateway import READ_WHOLE_S
from frontend.serving import Serving
from frontend.shop import basket, mistakes
from frontend.shop.basket import Basket, Held
from frontend.shop.showing import basket_held, keep_basket, show

_COPIES = re.compile(r"[0-9]{1,4}", re.ASCII)
_CENTS = re.compile(r"[0-9]{1,15}", re.ASCII)
IN_DOUBT = ("outcome-unknown", "in-progress")
FOR_GOOD = ("sold-out", "not-found", "idempotency-mismatch")  # remembered under the form's key


class Form(NamedTuple):
    """What a form at the till says; `total_cents`: what its reader saw, None when `in_doubt`: an
    earlier try may have bought it already.
    """

    key: str
    lines: Basket
    total_cents: int | None
    in_doubt: bool


class Line(NamedTuple):
    """A book in a basket, as it is now."""

    book: dict[str, Any]
    copies: int

    @property
    def cents(self) -> int:
        """Return what the line costs."""
        price: int = self.book["price_cents"]
        return price * self.copies

    @property
    def is_short(self) -> bool:
        """Tell whether fewer are left."""
        left: int = self.book["quantity"]
        return left < self.copies


class Till:
    """The views that change a basket, and sell it."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def register(self, shop: Blueprint) -> None:
        """Give the shop its basket and its till."""
        shop.get("/basket")(self.basket)
        shop.post("/basket")(self.change)
        shop.get("/checkout")(self.checkout)
        shop.post("/checkout")(self.buy)
        shop.get("/order/<order_id>")(self.order)

    def basket(self) -> Response:
        """Show what is in the basket."""
        held = basket_held()
        lines, found = self._looked_up(held.lines)
        changed = held if found == held.lines else self._with_new_key(found)
        shown = show(
            "basket.html", personal=True, held=changed, lines=lines, total=_total(lines),
            copies_max=QUANTITY_MAX, in_doubt=changed.in_doubt,
        )  # fmt: skip
        if changed != held:
            keep_basket(shown, changed)
        return shown

    def change(self) -> BaseResponse:
        """Put copies into the basket, change their number, or take them out; then show it."""
        book, copies = _asked()
        lines = basket_held().lines
        if request.form.get("do") == "add":
            copies += lines.get(book, 0)
        response = redirect("/basket", 303)
        keep_basket(response, self._with_new_key(basket.with_copies(lines, book, copies)))
        return response

    def checkout(self) -> BaseResponse:
        """Show what would be bought, in a form with the basket's key."""
        return self._summary(basket_held())

    def buy(self) -> BaseResponse:
        """Sell what stands on the form, and lead to the order."""
        form = _form()
        if self._costs_something_else(form):
            return self._summary(Held(form.key, dict(form.lines)), changed=True)
        try:
            sold = self._serving.purchases.sell(basket.lines_of(form.lines), form.key)
        except Problem as problem:
            return self._refused(problem, form)
        response = redirect(f"/order/{quote(sold.order_id, safe='')}", 303)
        held = basket_held()
        rest = basket.without(held.lines, form.lines)
        if rest != held.lines:
            keep_basket(response, self._with_new_key(rest))
        return response

    def order(self, order_id: str) -> Response:
        """Show an order; whoever has its number may see it."""
        if not incoming.may_be_an_order_id(order_id):
            raise Problem("not-found", "there is no such order")
        until = self._serving.clock.now() + READ_WHOLE_S
        answered = self._serving.orders.read(f"/orders/{order_id}", {}, until)
        order = json.loads(answered.response.body)
        made = datetime.fromisoformat(order["created_at"]).astimezone(UTC)
        day = f"{made.day} {made:%B %Y, %H:%M} UTC"
        return show("order.html", personal=True, order=order, day=day)

    def _with_new_key(self, lines: dict[int, int]) -> Held:
        return Held(f"{self._serving.random.getrandbits(128):032x}", lines)

    def _looked_up(self, held: Basket) -> tuple[list[Line], dict[int, int]]:
        """Return a basket's lines, and the basket without what nobody ever sold here."""
        lines = []
        for book, copies in held.items():
            try:
                document = json.loads(self._serving.reads.book(book).page.body)
            except Problem as problem:
                if problem.code != "not-found":
                    raise
            else:
                lines.append(Line(document, copies))
        return lines, {line.book["id"]: line.copies for line in lines}

    def _summary(self, wanted: Held, *, changed: bool = False) -> BaseResponse:
        lines, found = self._looked_up(wanted.lines)
        if found != wanted.lines or not found:
            return redirect("/basket", 303)
        return show(
            "checkout.html", personal=True, lines=lines, total=_total(lines), key=wanted.key,
            items=basket.written(found), in_doubt=wanted.in_doubt, changed=changed,
        )  # fmt: skip

    def _costs_something_else(self, form: Form) -> bool:
        """Tell whether the books cost something else than the form's reader saw, if we know."""
        if form.total_cents is None:
            return False
        try:
            return _total(self._looked_up(form.lines)[0]) != form.total_cents
        except Problem:
            return False

    def _refused(self, problem: Problem, form: Form) -> Response:
        """Say why a purchase was not made, and what may be done about it."""
        short = self._short(problem, form) if problem.code == "sold-out" else None
        form = form._replace(in_doubt=form.in_doubt or problem.code in IN_DOUBT)
        again = form._asdict() | {"items": basket.written(form.lines)}
        response = mistakes.refused(problem, in_doubt=form.in_doubt, again=again, short=short)
        held = basket_held()
        if held.key == form.key and problem.code in FOR_GOOD:
            keep_basket(response, self._with_new_key(held.lines))
        elif held.key == form.key and form.in_doubt:
            keep_basket(response, held._replace(in_doubt=True))
        return response

    def _short(self, problem: Problem, form: Form) -> dict[str, Any] | None:
        """Return the book that too few are left of; None when nobody can say."""
        book, left = problem.members.get("book_id"), problem.members.get("quantity_left")
        if not (isinstance(book, int) and isinstance(left, int)):
            return None
        try:
            title = json.loads(self._serving.reads.book(book).page.body)["title"]
        except Problem:
            title = "one of these books"
        return {"id": book, "title": title, "left": left, "wanted": form.lines.get(book, 0)}


def _total(lines: list[Line]) -> int:
    return sum(line.cents for line in lines)


def _asked() -> tuple[int, int]:
    """Return book and copies of a form that changes the basket."""
    book = parse_id(request.form.get("book", ""))
    if book is None:
        raise Problem("invalid-request", "The form names no book.")
    if request.form.get("do") == "remove":
        return book, 0
    copies = request.form.get("quantity", "1").strip()
    if not _COPIES.fullmatch(copies) or int(copies) > QUANTITY_MAX:
        raise Problem(
            "invalid-request", f"Please choose a number of copies up to {QUANTITY_MAX:,}."
        )
    return book, int(copies)


def _form() -> Form:
    """Return what a form at the till says; one that is not ours to the letter buys nothing."""
    key, lines = request.form.get("key", ""), basket.read(request.form.get("items", ""))
    total = request.form.get("total")
    if not basket.is_key(key) or not lines or not (total is None or _CENTS.fullmatch(total)):
        raise Problem("invalid-request", "This order form is not complete. Nothing was ordered.")
    held = basket_held()
    in_doubt = "doubt" in request.form or (held.key == key and held.in_doubt)
    return Form(key, lines, None if total is None or in_doubt else int(total), in_doubt)
