"""The cache of this frontend, laid open: what it holds, what it refused, and a way to empty it."""

from __future__ import annotations

from typing import Any

from flask import Response

from common.clock import Clock
from common.web import json_answer, json_body, query
from frontend.cache import Cache, Kept
from frontend.control.room import Room

SHOWN_AT_EACH_END = 100
REFUSED = "refused "


class CacheTab:
    """The page `/ops/cache`, its data, and the button that forgets all entries."""

    def __init__(self, cache: Cache[Any], clock: Clock) -> None:
        self._cache = cache
        self._clock = clock

    def register(self, room: Room) -> None:
        """Add the tab."""
        room.tab("cache", "Cache")
        room.data("cache", self.show)
        room.action("flush", self.flush)

    def show(self) -> Response:
        """Answer what the cache counts, its session, and both ends of its list of entries."""
        query(())
        counts, session = self._cache.counters(), self._cache.session()
        lookups = counts["hits"] + counts.get("misses", 0)
        least, most = self._cache.ends(SHOWN_AT_EACH_END)
        refused = {name: count for name, count in counts.items() if name.startswith(REFUSED)}
        return json_answer({
            "capacity": self._cache.capacity,
            "size": counts["size"],
            "hit_ratio": counts["hits"] / lookups if lookups else None,
            "session": session and {
                "id": session.id,
                "epoch": session.epoch,
                "left_s": max(0.0, session.ends_at - self._clock.now()),
            },
            "counts": {name: counts[name] for name in counts.keys() - refused.keys() - {"size"}},
            "refused": {name.removeprefix(REFUSED): count for name, count in refused.items()},
            "least": list(map(_row, least)),
            "most": list(map(_row, most)),
        })  # fmt: skip

    def flush(self) -> Response:
        """Forget all entries."""
        query(())
        json_body(optional=True)
        return json_answer({"flushed": self._cache.flush()})


def _row(kept: Kept) -> dict[str, Any]:
    kind, _, name = kept.key.tag.partition(":")
    row = {"kind": kind, "name": name, "as_of": kept.as_of}
    if kept.key.page is not None:
        row["limit"], row["later_page"] = kept.key.page[0], kept.key.page[1] is not None
    return row
