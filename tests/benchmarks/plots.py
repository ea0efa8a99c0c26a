"""The last run as pictures: how time and memory grow with the number of resources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from benchmarks.measuring import OURS
from benchmarks.tables import Measurement
from benchmarks.works import SLOW
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# The same numbers give the same file, byte for byte.
mpl.rcParams["svg.hashsalt"] = "synapse-apply"
NAMES = {"lists": "script on the lists", "threaded": "script by id, 16 threads"}


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: a figure of a work at a latency in ms, over the number of resources."""

    work: str
    latency: float
    figure: str
    title: str
    unit: str


PANELS = (
    Panel("plan", SLOW, "wall", "Plan, nothing changed, 20 ms", "seconds"),
    Panel("plan-by-id", SLOW, "wall", "Plan by id, nothing changed, 20 ms", "seconds"),
    Panel("first-apply", SLOW, "wall", "First apply, 20 ms", "seconds"),
    Panel("plan", 0, "cpu", "Plan, nothing changed: processor", "seconds"),
    Panel("plan", 0, "memory", "Plan, nothing changed: memory", "MB"),
    Panel("first-apply", SLOW, "memory", "First apply: memory", "MB"),
)


def draw(found: Sequence[Measurement], file: Path) -> None:
    """All panels as one SVG; both axes grow by factors, so that linear growth is a straight line."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    for panel, axes in zip(PANELS, figure.subplots(2, 3).flat, strict=True):
        _draw(panel, found, axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    more, others = figure.axes[1].get_legend_handles_labels()
    legend = dict(zip([*labels, *others], [*handles, *more], strict=True))
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None, "Creator": None})


def _draw(panel: Panel, found: Sequence[Measurement], axes: mpl.axes.Axes) -> None:
    lines: dict[str, list[tuple[int, float]]] = {}
    for one in sorted(found, key=lambda one: one.size):
        if (one.work, one.latency) == (panel.work, panel.latency):
            for who in one.runs:
                if who == OURS or who in NAMES:
                    lines.setdefault(who, []).append((one.size, one.middle(who, panel.figure)))
    for who, points in lines.items():
        colour = "C0" if who == OURS else f"C{1 + list(NAMES).index(who)}"
        sizes, values = zip(*points, strict=True)
        axes.plot(sizes, values, marker="o", markersize=4, color=colour, label=NAMES.get(who, who))
    axes.set(title=panel.title, xscale="log", yscale="log", xlabel="resources", ylabel=panel.unit)
    for axis, form in ((axes.xaxis, "{x:,.0f}"), (axes.yaxis, "{x:g}")):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if axis is axes.yaxis else (1,)))
        axis.set_major_formatter(form)
        axis.set_minor_formatter(NullFormatter())
    axes.title.set_fontsize("medium")
    axes.grid(visible=True, which="major", linewidth=0.4)
