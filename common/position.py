"""Positions in the replicated log."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """Where an entry stands: the epoch it was born in, its sequence number, and its hash (hex).

    Two logs that agree on a position agree on everything before it: the hash chains.
    """

    epoch: int
    seq: int
    hash: str


ORIGIN = Position(0, 0, "")
