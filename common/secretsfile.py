"""Makes secrets.env: fresh random secrets that only their owner can read.

Law: the file appears whole or not at all, and never replaces another.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterable
from pathlib import Path

SECRET_BYTES = 32


def make_secrets(path: Path, keys: Iterable[str]) -> bool:
    """Make a file with a secret for each key; return False, changing nothing, if there is one."""
    if path.exists():
        return False
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.writelines(f"{key}={secrets.token_urlsafe(SECRET_BYTES)}\n" for key in keys)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # unlike a rename it fails when the name is taken
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True
