"""Opaque cursors of lists: where the next page begins, bound to the list and to the cluster it came from."""

from __future__ import annotations

import base64
import binascii

from common.errors import Problem


def write_cursor(kind: str, cluster: str, after: int) -> str:
    """Return a cursor for the page after row `after` of the list `kind`."""
    return base64.urlsafe_b64encode(f"{kind}:{cluster}:{after}".encode()).decode().rstrip("=")


def read_cursor(kind: str, cluster: str, text: str | None) -> int:
    """Return the row a cursor points after (0 without one); raise `invalid-request` for a foreign or broken one."""
    if text is None:
        return 0
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").rsplit(":", 2)
        if len(parts) == 3 and parts[:2] == [kind, cluster] and parts[2].isdecimal() and len(parts[2]) < 20:
            return int(parts[2])
    except (ValueError, binascii.Error):
        pass
    raise Problem("invalid-request", "after: not a cursor of this list; take `next` from the previous page")
