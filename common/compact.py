"""JSON as everybody here writes it: compact, UTF-8 as it is, members in their order."""

from __future__ import annotations

import json
from typing import Any


def compact(document: Any) -> str:
    """Return a document as text."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
