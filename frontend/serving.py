"""What serves customers, by the API and by the shop's pages alike."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from common.clock import Clock
from frontend.gateway import Group
from frontend.purchases import Purchases
from frontend.reads import Reads


@dataclass(frozen=True)
class Serving:
    """The ways of one frontend to books, sales and orders; `random` makes keys."""

    reads: Reads
    purchases: Purchases
    orders: Group
    clock: Clock
    random: Random
