"""Raw figures of a run, one value a round, and the file they are kept in.

Law: the report is made of these alone, so it can be made again from the file.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Key(NamedTuple):
    """What a value is: of which line and case, measured on what, in which unit ("p50 ms")."""

    line: str
    case: str
    system: str
    figure: str


@dataclass(frozen=True)
class Series:
    """How something went over time."""

    line: str
    name: str
    times_s: list[float]
    values: list[float]


@dataclass
class Results:
    """Everything one run measured; `about` says on which machine and how."""

    about: dict[str, Any]
    figures: dict[Key, list[float]] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, key: Key, value: float) -> None:
        """Add one round's value."""
        self.figures.setdefault(key, []).append(value)

    def values(self, line: str, case: str, system: str, figure: str) -> list[float]:
        """Return a value for each round; none if it was not measured."""
        return self.figures.get(Key(line, case, system, figure), [])

    def forget(self, line: str) -> None:
        """Drop what a line measured before it failed."""
        self.figures = {key: values for key, values in self.figures.items() if key.line != line}
        self.series = [series for series in self.series if series.line != line]

    def save(self, path: Path) -> None:
        """Write the file."""
        figures = [key._asdict() | {"values": values} for key, values in self.figures.items()]
        series = [asdict(series) for series in self.series]
        document = {
            "about": self.about, "notes": self.notes, "figures": figures, "series": series,
        }  # fmt: skip
        path.write_text(_lines(document), "utf-8")


def load(path: Path) -> Results:
    """Read the file."""
    document = json.loads(path.read_text("utf-8"))
    figures = {
        Key(one["line"], one["case"], one["system"], one["figure"]): one["values"]
        for one in document["figures"]
    }
    series = [Series(**one) for one in document["series"]]
    return Results(document["about"], figures, series, document["notes"])


def _lines(document: dict[str, Any]) -> str:
    """Return JSON with a line for each figure, so that two runs can be compared with `diff`."""
    parts = []
    for name, value in document.items():
        if isinstance(value, list):
            rows = ",\n  ".join(json.dumps(_rounded(row), ensure_ascii=False) for row in value)
            parts.append(f'"{name}": [\n  {rows}\n]')
        else:
            parts.append(f'"{name}": {json.dumps(value, ensure_ascii=False)}')
    return "{" + ",\n".join(parts) + "}\n"


def _rounded(row: Any) -> Any:
    """Return a row with numbers of six digits: what follows is noise."""
    if isinstance(row, float):
        return float(f"{row:.6g}")
    if isinstance(row, list):
        return [_rounded(one) for one in row]
    return {key: _rounded(one) for key, one in row.items()} if isinstance(row, dict) else row
