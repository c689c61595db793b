"""Looks settings up in their three places: the environment, secrets.env, the config file.

Law: nothing malformed passes silently: every line that is no setting, or an unknown one, is
reported with its place.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import Binding, parse_stream

ENVIRONMENT = "the environment"


@dataclass(frozen=True)
class Value:
    """A setting as it was written, and the name of the place it stands in."""

    text: str
    where: str


class Sources:
    """The settings as written, wherever each stands, and in `errors` all that was wrong so far."""

    def __init__(
        self, files: Mapping[str, Path], environ: Mapping[str, str], keys: Collection[str]
    ) -> None:
        """Read `files` (name in messages -> path), later over earlier, then the environment."""
        self.errors: list[str] = []
        self._first = next(iter(files))
        self._values: dict[str, Value] = {}
        for name, path in files.items():
            self._values |= _read(path, name, self.errors)
        for key, value in self._values.items():
            if key not in keys:
                self.errors.append(f"{key} ({value.where}): no such setting")
        self._values |= {key: Value(environ[key], ENVIRONMENT) for key in keys if key in environ}

    def text(self, key: str) -> str:
        """Return a setting without the blanks around it; the empty string when it is nowhere."""
        value = self._values.get(key)
        return value.text.strip() if value else ""

    def needed(self, key: str) -> str:
        """Return a setting; report one that is missing."""
        text = self.text(key)
        if not text:
            self.fail(key, "is missing")
        return text

    def fail(self, key: str, why: str) -> None:
        """Report what is wrong with a setting, under its name and its place."""
        value = self._values.get(key)
        self.errors.append(f"{key} ({value.where if value else self._first}): {why}")


def _read(path: Path, name: str, errors: list[str]) -> dict[str, Value]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        errors.append(f"{name}: cannot be read: {error}")
        return {}
    values: dict[str, Value] = {}
    for line, binding in _bindings(text):
        if binding.key is None or binding.value is None:
            errors.append(f"{name}, line {line}: is not of the form KEY=value")
        elif binding.key in values:
            errors.append(f"{binding.key} ({name}, line {line}): is set twice")
        else:
            values[binding.key] = Value(binding.value, name)
    return values


def _bindings(text: str) -> Iterator[tuple[int, Binding]]:
    """Yield each statement with its line (the parser counts the blank lines before it to it)."""
    for binding in parse_stream(io.StringIO(text)):
        if binding.key is not None or binding.error:
            original = binding.original.string
            blank = original[: len(original) - len(original.lstrip())].count("\n")
            yield binding.original.line + blank, binding
