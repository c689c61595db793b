"""Results -> docs/performance.md, and the short table on the terminal.

Law: pure but for `write`; whatever was not measured is said to be missing, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench.openloop import LATE_MS_MAX
from bench.results import Key, Results
from bench.stats import Summary, summary
from bench.targets import MET, TARGETS, Target

TEMPLATE = Path(__file__).with_name("report.md")
BUSY = 0.5  # load average above which other work was running
NAMES = {
    "bazar": "Bazar", "peer": "Flask + PostgreSQL", "lookup": "lookup", "search": "search page",
    "text": "free-text search", "1000": "1,000 books", "12000": "12,000", "75000": "75,000",
    "find": "found books", "worst": "the worst of these", "plain": "one heading, one line",
}  # fmt: skip
MISSING = "-"
WIDE_CHARS = 110
LATE = "late p99 ms"


def write(results: Results, docs: Path) -> None:
    """Write the report and its pictures."""
    from bench import plots  # the one part that needs matplotlib

    (docs / "pictures").mkdir(parents=True, exist_ok=True)
    plots.draw(results, docs / "pictures")
    (docs / "performance.md").write_text(markdown(results), "utf-8")


def markdown(results: Results) -> str:
    """Return the report."""
    about = results.about
    sections = {name: _by_case(results, name, columns) for name, columns in COLUMNS.items()}
    return Template(TEMPLATE.read_text("utf-8")).substitute(
        sections,
        at=about["at"],
        rounds=about["rounds"],
        machine="\n".join(f"| {name} | {value} |" for name, value in _machine(about)),
        caution=_caution(results),
        verdicts=_table(VERDICT_COLUMNS, [_verdict_row(target, results) for target in TARGETS]),
        gunicorn=_gunicorn(results),
        growth=_growth(results),
        sizes=_sizes(results),
        notes="\n".join(f"- {note}" for note in [*_late(results), *results.notes]) or "None.",
    )


def terminal(results: Results, width: int) -> Group:
    """Return the verdicts on what was measured, and how many targets are met.

    Where the window is narrow the ranges are left out: they are in the report.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for name in VERDICT_COLUMNS:
        numbers = name in ("measured", "target")
        table.add_column(name, justify="right" if numbers else "left", no_wrap=name == "verdict")
    verdicts = []
    for target in TARGETS:
        if target.measured(results) is not None:
            *cells, verdict = _verdict_row(target, results)
            verdicts.append(verdict.strip("*"))
            if width < WIDE_CHARS:
                cells = [cell.partition(" (")[0] for cell in cells]
            table.add_row(*cells, Text(verdicts[-1], _colour(verdicts[-1])))
    met = verdicts.count(MET)
    words = f"{met} of {len(verdicts)} targets met" if verdicts else "no target was measured"
    return Group(table, Text(words, "bold green" if met == len(verdicts) else "bold yellow"))


def _colour(verdict: str) -> str:
    """Return green for what is met, yellow for what says nothing, red for what is missed."""
    if verdict == MET:
        return "green"
    return "bold red" if verdict.startswith(("short", "over")) else "yellow"


# --- verdicts ---

VERDICT_COLUMNS = ("what", "measured", "target", "verdict")


def _verdict_row(target: Target, results: Results) -> list[str]:
    found = target.measured(results)
    verdict = target.verdict(results)
    return [target.what, shown(found, target.unit), target.text, _strong(verdict)]


def _strong(verdict: str) -> str:
    return verdict if verdict == MET else f"**{verdict}**"


def shown(found: Summary | None, unit: str = "") -> str:
    """Return a median with its range, in three digits."""
    if found is None:
        return MISSING
    unit = f" {unit}" if unit else ""
    text = f"{number(found.median)}{unit}"
    if found.low == found.high:
        return text
    return f"{text} ({number(found.low)} to {number(found.high)})"


def number(value: float) -> str:
    """Return a number in three digits; whole ones with commas."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}"


# --- tables ---

# Section -> the figures that are its columns.
COLUMNS: dict[str, Sequence[str]] = {
    "hits": ("req/s", "p50 ms", "p99 ms"),
    "stuck": ("p50 ms", "p99 ms"),
    "table": ("mean ms",),
    "uncached": ("req/s", "p50 ms", "p99 ms"),
    "purchases": ("req/s", "p50 ms", "p99 ms"),
    "visible": ("p50 ms", "p99 ms", "seen everywhere p50 ms"),
    "mix": ("req/s", "p50 ms", "p99 ms"),
    "open": ("p50 ms", "p99 ms", LATE),
    "pages": ("first ms", "again ms", "kB"),
}
CASES = {
    "hits": "what", "stuck": "what", "table": "what", "uncached": "what", "purchases": "clients",
    "visible": "frontends", "mix": "clients", "open": "requests a second",
    "pages": "page",
}  # fmt: skip


def _by_case(results: Results, line: str, figures: Sequence[str]) -> str:
    """Return a table with a row for each case and system of a line."""
    rows = []
    for case, system in dict.fromkeys(
        (key.case, key.system) for key in results.figures if key.line == line
    ):
        found = [results.values(line, case, system, figure) for figure in figures]
        cells = [shown(summary(values)) if values else MISSING for values in found]
        rows.append([NAMES.get(case, case), NAMES.get(system, system), *cells])
    return _table((CASES[line], "", *figures), rows)


def _growth(results: Results) -> str:
    cases = dict.fromkeys(key.case for key in results.figures if key.line == "growth")
    sizes = ("1000", "12000", "75000")
    rows = []
    for case in cases:
        found = [results.values("growth", case, size, "p50 ms") for size in sizes]
        cells = [shown(summary(values)) if values else MISSING for values in found]
        rows.append([NAMES.get(case, case), *cells])
    return _table(("", *(NAMES[size] for size in sizes)), rows)


def _sizes(results: Results) -> str:
    rows = []
    for key, values in results.figures.items():
        if key.line in ("import", "failover", "memory", "soak") and key.figure != "failed":
            rows.append([_words(key), shown(summary(values), _unit(key.figure))])
    return _table(("", ""), rows)


def _unit(figure: str) -> str:
    """Return the unit of a figure: "longest s" is in s."""
    return figure if figure.startswith("%") else figure.split()[-1]


MEMORY = {"ready": "ready after start", "all": "memory, all five", "idle": "idle, all five"}


def _words(key: Key) -> str:
    return {
        "import": "import of 60,000 books",
        "failover": f"longest read, a catalog {key.case}",
        "memory": MEMORY.get(key.case, f"memory, {key.case}"),
        "soak": "growth of memory under load, second half",
    }[key.line]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return "Not measured in this run."
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- words ---


def _machine(about: dict[str, object]) -> list[tuple[str, str]]:
    versions = about.get("versions")
    programs = versions.items() if isinstance(versions, dict) else ()
    return [
        ("processor", f"{about['cpu']}, {about['cores']} cores"),
        ("memory", f"{about['memory_gb']} GB"),
        ("disk", f"4 KiB durable (fdatasync) in {about['sync_ms']} ms"),
        ("kernel", str(about["kernel"])),
        ("Python", f"{about['python']}, SQLite {about['sqlite']}"),
        ("programs", ", ".join(f"{name} {version}" for name, version in programs)),
    ]


def _late(results: Results) -> list[str]:
    """Name the open loops whose generator did not keep its schedule, as their law demands."""
    found = []
    for key, values in results.figures.items():
        late = [value for value in values if value > LATE_MS_MAX]
        if key.figure == LATE and late:
            found.append(
                f"{key.line}, {key.case}, {NAMES[key.system]}: the generator was up to"
                f" {max(late):.1f} ms late in {len(late)} of {len(values)} rounds, whose latencies"
                " are too high"
            )
    return found


def _caution(results: Results) -> str:
    about, reasons = results.about, []
    if about["load_before"] > BUSY:
        reasons.append(f"the machine was busy with other work (load {about['load_before']})")
    if about["quick"]:
        reasons.append("this was a quick run: too short to tell")
    if not reasons:
        return ""
    return f"\n**Do not rely on these figures: {'; '.join(reasons)}.**\n"


def _gunicorn(results: Results) -> str:
    chosen, tried = results.about.get("gunicorn"), results.about.get("gunicorn_tried")
    if chosen is None:
        return "not measured in this run"
    return f"{chosen}" + (f", the best of {', '.join(map(str, tried))}" if tried else "")
