"""The pictures of docs/performance.md, each as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from bench.results import Results
from bench.stats import Summary, ratios, summary

INK, SOFT, GRID = "#2f3b45", "#7b8894", "#e6eaed"
COLOURS = {"bazar": "#2f6f9f", "nginx": "#b9c2c9", "peer": "#d2a25c"}
LABELS = {"bazar": "Bazar", "nginx": "nginx proxy_cache", "peer": "Flask + PostgreSQL"}
OPERATIONS = {
    "lookup": "#2f6f9f", "search": "#6aa583", "purchase": "#b5524b", "text": "#8d7bb0",
}  # fmt: skip
NODES = ("catalog-1", "catalog-2", "order-1", "order-2", "frontend-1")
NODE_COLOURS = ("#2f6f9f", "#7fb0d3", "#b5524b", "#dba49f", "#6aa583")
STYLE: Any = {
    "font.size": 9, "font.family": "DejaVu Sans", "svg.hashsalt": "bazar", "axes.titlesize": 9.5,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
}  # fmt: skip

METADATA: dict[str, Any] = {".svg": {"Date": None}, ".png": {"Software": None}}


def draw(results: Results, folder: Path) -> None:
    """Write all pictures; a part that was not measured is an empty frame that says so."""
    pictures: dict[str, Callable[[Results], Figure]] = {
        "throughput": throughput, "open": open_loop, "growth": growth, "memory": memory,
    }  # fmt: skip
    with mpl.rc_context(STYLE):
        for name, make in pictures.items():
            figure = make(results)
            path = str(folder / f"bench-{name}")
            for suffix in (".svg", ".png"):
                figure.savefig(path + suffix, metadata=METADATA[suffix])


# --- throughput ---

CLIENTS = ("1", "16", "64")
PANELS = (
    ("hits, one core", "hits", {"lookup": "lookup", "search": "search page"}, "nginx"),
    ("not cached", "uncached", {"lookup": "lookups by\n16 clients"}, "peer"),
    ("purchases", "purchases", {n: f"{n} client{'s' * (n > '1')}" for n in CLIENTS}, "peer"),
    ("shopping mix", "mix", {"16": "16 clients"}, "peer"),
)


def throughput(results: Results) -> Figure:
    """Bars: requests a second, ours and the other's, whiskers from the worst round to the best."""
    figure = _figure(11, 3.9)
    widths = [len(cases) + 0.6 for _, _, cases, _ in PANELS]
    axes = figure.subplots(1, len(PANELS), gridspec_kw={"width_ratios": widths})
    for axis, (title, line, cases, other) in zip(axes, PANELS, strict=True):
        axis.set_title(title, loc="left", fontweight="bold")
        _plain(axis)
        for place, system in enumerate(("bazar", other)):
            _bars(axis, results, line, list(cases), system, place)
        axis.set_xticks(range(len(cases)), cases.values())
        axis.set_xlim(-0.62, len(cases) - 0.38)
        axis.tick_params(axis="x", length=0)
        axis.margins(y=0.14)
        axis.yaxis.set_major_formatter(
            lambda value, _: f"{value:g}" if value < 1000 else f"{value / 1000:g}k"
        )
    axes[0].set_ylabel("requests / s")
    handles = [Patch(color=COLOURS[name], label=LABELS[name]) for name in LABELS]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _bars(
    axis: Any, results: Results, line: str, cases: Sequence[str], system: str, place: int
) -> None:
    width = 0.4
    for number, case in enumerate(cases):
        found = _summary(results, line, case, system, "req/s")
        if found is None:
            _nothing(axis)
            continue
        at = number + (place - 0.5) * width
        axis.bar(at, found.median, width * 0.94, color=COLOURS[system], linewidth=0)
        axis.vlines(at, found.low, found.high, color=INK, linewidth=1)
        axis.annotate(
            _short(found.median), (at, found.high), (0, 2), textcoords="offset points",
            ha="center", va="bottom", fontsize=8, color=INK,
        )  # fmt: skip


# --- open loop ---


def open_loop(results: Results) -> Figure:
    """Lines: latency by offered rate; p50 drawn through, p99 dashed."""
    figure = _figure(11, 4)
    hits, mix = figure.subplots(1, 2, sharey=True)
    for axis, kind, title in ((hits, "hits", "hits"), (mix, "mix", "shopping mix")):
        axis.set_title(title, loc="left", fontweight="bold")
        axis.set_xlabel("requests / s offered")
        axis.set_yscale("log")
        _plain(axis)
        drawn = [_latencies(axis, results, kind, system) for system in ("bazar", "peer")]
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.yaxis.set_minor_formatter(lambda *_: "")
        if not any(drawn):
            _nothing(axis)
    hits.set_ylabel("ms from the scheduled time")
    handles = {label: line for axis in (mix, hits) for line, label in _legend(axis)}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def _legend(axis: Any) -> list[tuple[Any, str]]:
    return list(zip(*axis.get_legend_handles_labels(), strict=True))


def _latencies(axis: Any, results: Results, kind: str, system: str) -> bool:
    rates = sorted(
        int(key.case.split()[1])
        for key in results.figures
        if key.line == "open" and key.case.startswith(kind + " ") and key.system == system
        if key.figure == "p50 ms"
    )
    for figure, dashes in (("p50 ms", "-"), ("p99 ms", "--")):
        found = [
            summary(results.values("open", f"{kind} {rate}", system, figure)) for rate in rates
        ]
        if found:
            colour = COLOURS[system]
            axis.plot(
                rates, [one.median for one in found], dashes, color=colour, marker="o",
                markersize=4, label=f"{LABELS[system]}, {figure.split()[0]}",
            )  # fmt: skip
            axis.fill_between(
                rates, [one.low for one in found], [one.high for one in found], color=colour,
                alpha=0.12, linewidth=0,
            )  # fmt: skip
    if rates:
        axis.set_xticks(rates)
    return bool(rates)


# --- growth ---


def growth(results: Results) -> Figure:
    """Lines: time by number of books, as a multiple of that with the fewest."""
    figure = _figure(7.5, 3.6)
    axis = figure.subplots()
    axis.set_title("time by number of books (1,000 books = 1)", loc="left", fontweight="bold")
    _plain(axis)
    drawn = False
    for case, colour in OPERATIONS.items():
        found = {
            int(key.system): values
            for key, values in results.figures.items()
            if key.line == "growth" and key.case == case and key.figure == "p50 ms"
        }
        if not found:
            continue
        drawn, sizes = True, sorted(found)
        times = [summary(ratios(found[size], found[sizes[0]])).median for size in sizes]
        label = {"search": "search page", "text": "free-text search"}.get(case, case)
        axis.plot(sizes, times, color=colour, marker="o", markersize=4, label=label)
        axis.set_xscale("log")
        axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.minorticks_off()
    if not drawn:
        _nothing(axis)
        return figure
    axis.axhline(1.2, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    axis.annotate(
        "target: 1.2", (0, 1.2), (4, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", color=SOFT, fontsize=8,
    )  # fmt: skip
    axis.set_ylim(0, max(1.5, axis.get_ylim()[1]))
    axis.set_xlabel("books")
    axis.legend(frameon=False, ncols=2, loc="lower right", labelcolor=INK)
    return figure


# --- memory ---


def memory(results: Results) -> Figure:
    """Areas: memory of each process over time, under load."""
    figure = _figure(7.5, 3.6)
    axis = figure.subplots()
    axis.set_title("memory under load (PSS)", loc="left", fontweight="bold")
    _plain(axis)
    found = {one.name: one for one in results.series if one.line == "soak"}
    names = [name for name in NODES if name in found]
    if not names:
        _nothing(axis)
        return figure
    times = found[names[0]].times_s
    stacked = axis.stackplot(
        times, [found[name].values for name in names], colors=NODE_COLOURS, labels=names,
        linewidth=0,
    )  # fmt: skip
    axis.axhline(350, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    axis.annotate(
        "target: 350 MB", (0, 350), (4, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", color=SOFT, fontsize=8,
    )  # fmt: skip
    axis.set_xlim(times[0], times[-1])
    axis.set_ylim(0, max(400, axis.get_ylim()[1]))
    axis.set_xlabel("seconds")
    axis.set_ylabel("MB")
    axis.legend(
        stacked[::-1], names[::-1], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False,
        labelcolor=INK,
    )  # fmt: skip
    return figure


# --- all ---


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure; its size is in inches."""
    return Figure((width, height), 120, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))


def _summary(results: Results, line: str, case: str, system: str, figure: str) -> Summary | None:
    values = results.values(line, case, system, figure)
    return summary(values) if values else None


def _short(value: float) -> str:
    """Return a number as people say it: 94k, 2.1k, 480."""
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"


def _nothing(axis: Any) -> None:
    axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", color=SOFT)


def _plain(axis: Any) -> None:
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(SOFT)
    axis.tick_params(length=0, which="both")
    axis.grid(axis="y", color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
