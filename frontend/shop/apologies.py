"""What the shop says when something goes wrong: plain words for each public code. PURE.

Law: "nothing was ordered" is said only of codes that mean it, and whoever may ask again is told
that it is safe.
"""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    """A heading and what follows it; `button`: what asking once more is called, if it may help."""

    heading: str
    text: str
    button: str = ""


NOT_TWICE = "However often you ask, it is ordered once, and nothing is ever charged twice."
AGAIN = f"Please load this page again in a moment, also if you were ordering. {NOT_TWICE}"
LOOKING = {
    "not-found": Words(
        "We could not find that",
        "There is no such page in this shop. Perhaps the search finds what you came for.",
    ),
    "unavailable": Words(
        "We cannot look that up right now",
        "Those who know our shelves do not answer at the moment. It usually takes a few seconds.",
        "Try again",
    ),
    "invalid-request": Words(
        "We did not understand that", "Something about it was not as it should be."
    ),
    "too-large": Words("That was too much at once", "Please try again with less."),
}
MISSING = {  # by the route that did not find it
    "/book/<book>": Words("We do not have that book", "Perhaps the search finds another edition."),
    "/topic/<topic:topic>": Words(
        "We have no books of that topic", "All our topics are listed at the foot of every page."
    ),
    "/order/<order_id>": Words(
        "We know no order with that number",
        "Please look whether all of it is there: it has 32 letters and digits.",
    ),
}
BUYING = LOOKING | {
    "sold-out": Words("Somebody was quicker", "Nothing was ordered, and nothing was charged."),
    "outcome-unknown": Words(
        "We do not know yet whether your order went through",
        "We were interrupted just as you ordered. Please ask again: if the order was placed, you"
        f" will get that very order; if it was not, it will be placed now. {NOT_TWICE}",
        "Ask again",
    ),
    "in-progress": Words(
        "Your order is still being written down",
        f"It takes a little longer than usual. Ask again in a moment. {NOT_TWICE}",
        "Ask again",
    ),
    "writes-unavailable": Words(
        "The till is closed for a moment",
        "We cannot take orders right now. Nothing was ordered, nothing was charged, and your basket"
        f" is as it was. Try again in a little while. {NOT_TWICE}",
        "Try again",
    ),
    "rate-limited": Words(
        "There is a queue at the till",
        "Many people are ordering at this moment. Nothing was ordered yet, and nothing was charged."
        f" {NOT_TWICE}",
        "Try again",
    ),
    "idempotency-mismatch": Words(
        "This form was already used",
        "It belongs to another order. Nothing new was ordered. Please go to the till again from"
        " your basket.",
    ),
    "not-found": Words(
        "We no longer have one of these books",
        "Nothing was ordered, and nothing was charged. Please look at your basket again.",
    ),
}  # fmt: skip
AT_THE_DOOR = {  # said before anybody has looked at what was asked for
    "rate-limited": Words(
        "There is a queue at the door",
        f"Very many people are in the shop at this moment. {AGAIN}",
    ),
    "unavailable": Words(
        "Something went wrong with us",
        "It was not you, and it has been written down. Please load this page again.",
    ),
    "outcome-unknown": Words(
        "We were interrupted",
        f"We do not know how far we had got. {AGAIN}",
    ),
}
STILL_UNKNOWN = Words(
    "We still do not know whether your order went through",
    f"We cannot find out right now. Please ask again in a little while. {NOT_TWICE}",
    "Ask again",
)
