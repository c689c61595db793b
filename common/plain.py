"""Which requests are plain: no router, framework or parser takes them for anything else."""

from __future__ import annotations

import re

from common.intake import HEADER_BYTES_MAX
from common.service import Call

READS = ("GET", "HEAD")
METHODS = {
    b"GET": "GET", b"HEAD": "HEAD", b"POST": "POST", b"PATCH": "PATCH", b"PUT": "PUT",
    b"DELETE": "DELETE", b"OPTIONS": "OPTIONS",
}  # fmt: skip
SPECIAL_HEADERS = frozenset((b"transfer-encoding", b"expect", b"upgrade"))
HEAD_END = b"\r\n\r\n"
PLAIN_HOST = re.compile(
    rb"(?:(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}|\[[0-9A-Fa-f:]+\])(?::([1-9][0-9]{0,4}))?"
)


def is_plain(host: bytes) -> bool:
    """Tell whether no router objects to a Host header (Werkzeug refuses some, ignores others)."""
    found = PLAIN_HOST.fullmatch(host)
    return found is not None and int(found[1] or 80) < 2**16


def sole(piece: bytes, call: Call) -> Call | None:
    """Return the call with its body, if a piece that begins with its message ends with it, too.

    In the pinned parser a line ends with CRLF and nothing else, so the first empty one ends the
    header block (none stands before a message that begins with its method).
    """
    head_end = piece.find(HEAD_END) + len(HEAD_END)
    length = call.headers.get(b"content-length", b"0").rstrip()
    if (
        head_end > HEADER_BYTES_MAX
        or not piece.startswith(call.method.encode())
        or not call.target.startswith(b"/")
        or not length.isdigit()
        or head_end + int(length) != len(piece)
    ):
        return None
    # As `Ordinary` hands it on: blanks trimmed, and no question mark without a query.
    headers = {name: value.rstrip(b" \t") for name, value in call.headers.items()}
    target = call.target.removesuffix(b"?") if call.target.count(b"?") == 1 else call.target
    return Call(call.method, target, headers, piece[head_end:])
