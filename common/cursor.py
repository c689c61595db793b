"""Opaque cursors of lists: where the next page begins, bound to its list and to its cluster."""

from __future__ import annotations

import base64
import binascii
import re

from common.errors import Problem

ROW_MAX = 2**63 - 1  # what SQLite can compare with
_ROW = re.compile(r"[0-9]{1,19}", re.ASCII)


def write_cursor(kind: str, cluster: str, after: int) -> str:
    """Return a cursor for the page after row `after` of the list `kind`."""
    return base64.urlsafe_b64encode(f"{kind}:{cluster}:{after}".encode()).decode().rstrip("=")


def read_cursor(kind: str, cluster: str, text: str | None) -> int:
    """Return the row a cursor points after (0 without one).

    Raises `invalid-request` for one that is broken, or belongs to another list or cluster.
    """
    if text is None:
        return 0
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        plain = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        head, row = plain.rsplit(":", 1)
        if head == f"{kind}:{cluster}" and _ROW.fullmatch(row) and int(row) <= ROW_MAX:
            return int(row)
    except (ValueError, binascii.Error):
        pass
    raise Problem(
        "invalid-request", "after: not a cursor of this list; take `next` from the previous page"
    )
