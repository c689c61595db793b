"""The picture of a chaos run: what was answered each second, and above it what was broken when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tests.support.chaos_history import ANSWERED, READS, WRITES, Call
from tests.support.chaos_nemesis import Fault
from tests.support.chaos_shop import BACKUP, FIVE, SIX

INK, SOFT, GRID = "#2f3b45", "#7b8894", "#e6eaed"
READ_COLOUR, WRITE_COLOUR = "#5b8db8", "#6aa583"
FAULT_COLOURS = {
    "kill -9": "#b5524b", "kill -9 of several": "#8c3b36", "SIGTERM": "#d39a8f",
    "SIGSTOP": "#8d7bb0", "link cut": "#d9a441", "node cut off": "#b37a1f",
    "disk full": "#5f7d6e", "disk lost": "#34515e", "wall clock jump": "#9aa5ad",
}  # fmt: skip
BINS_MAX = 120
NARROWEST = 0.004  # of the width: what happens at one moment is to be seen all the same


def draw(
    folder: Path, calls: Sequence[Call], faults: Sequence[Fault], span: Any, title: str
) -> None:
    """Write chaos.png and chaos.svg; `span` is when the run began and ended."""
    with mpl.rc_context({"font.size": 9, "font.family": "DejaVu Sans", "svg.fonttype": "none"}):
        figure = Figure(figsize=(11, 6.6), layout="constrained")
        lanes, reads, writes = figure.subplots(
            3, 1, sharex=True, gridspec_kw={"height_ratios": [2.3, 1.3, 1]}
        )
        figure.suptitle(title, x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold")
        _faults(lanes, faults, span)
        _rate(reads, calls, READS, span, READ_COLOUR, "reads answered / s")
        _rate(writes, calls, WRITES, span, WRITE_COLOUR, "writes answered / s")
        writes.set_xlabel("seconds since the run began", color=INK)
        writes.set_xlim(0, span[1] - span[0])
        figure.align_ylabels()
        FigureCanvasAgg(figure).print_png(str(folder / "chaos.png"))
        FigureCanvasSVG(figure).print_svg(str(folder / "chaos.svg"))


def _faults(axes: Any, faults: Sequence[Fault], span: Any) -> None:
    began, ended = span
    nodes = SIX if any(BACKUP in fault.nodes for fault in faults) else FIVE
    for fault in faults:
        length = max(fault.healed - fault.began, NARROWEST * (ended - began))
        for node in fault.nodes:
            axes.barh(
                nodes.index(node), length, left=fault.began - began, height=0.62,
                color=_colour(fault.kind), linewidth=0,
            )  # fmt: skip
    axes.set_yticks(range(len(nodes)), nodes)
    axes.set_ylim(len(nodes) - 0.5, -0.5)
    seen = {family for family in FAULT_COLOURS for fault in faults if _family(fault.kind) == family}
    patches = [Patch(color=FAULT_COLOURS[f], label=f) for f in FAULT_COLOURS if f in seen]
    axes.legend(
        handles=patches, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(patches) or 1,
        frameon=False, handlelength=1.0, columnspacing=1.3, borderaxespad=0.2, labelcolor=INK,
    )  # fmt: skip
    _plain(axes)


def _rate(
    axes: Any, calls: Sequence[Call], kinds: tuple[str, ...], span: Any, colour: str, label: str
) -> None:
    began, ended = span
    width = max(0.5, (ended - began) / BINS_MAX)
    counts = [0] * (int((ended - began) / width) + 1)
    for call in calls:
        if call.kind in kinds and call.answer in ANSWERED and began <= call.ended < ended:
            counts[int((call.ended - began) / width)] += 1
    edges = [number * width for number in range(len(counts) + 1)]
    rates = [count / width for count in counts]
    axes.stairs(rates, edges, fill=True, color=colour, alpha=0.35)
    axes.stairs(rates, edges, color=colour, linewidth=1.2)
    axes.set_ylabel(label, color=INK)
    axes.set_ylim(0, max(rates) * 1.15 or 1)
    _plain(axes)


def _plain(axes: Any) -> None:
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(SOFT)


def _family(kind: str) -> str:
    return kind.partition(",")[0]


def _colour(kind: str) -> str:
    return FAULT_COLOURS[_family(kind)]
