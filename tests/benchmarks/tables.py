"""Measurements as JSON, as a text for a terminal and as the tables of docs/performance.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import OURS, Run, median
from benchmarks.works import BOUNDS, MEANINGS, Bound, How, ratio

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


@dataclass(frozen=True, slots=True)
class Measurement:
    """The runs of every contender at one work, `latency` in ms."""

    work: str
    size: int
    latency: float
    runs: Mapping[str, Sequence[Mapping[str, Any]]]

    @classmethod
    def of(
        cls, work: str, size: int, latency: float, runs: Mapping[str, Sequence[Run]]
    ) -> Measurement:
        plain = {name: [asdict(one) for one in some] for name, some in runs.items()}
        return cls(work, size, latency, plain)

    def middle(self, who: str, figure: str) -> float:
        """The median of a contender's figure; of its requests, all that it sent."""
        return median(
            sum(one[figure].values()) if figure == "requests" else one[figure]
            for one in self.runs[who]
        )


def machine() -> str:
    """Where it was measured, in words."""
    system = f"{platform.system()} {platform.machine()}"
    return f"Python {platform.python_version()}, {os.cpu_count()} processors, {system}"


def value_of(bound: Bound, found: Sequence[Measurement]) -> float | None:
    """What was measured of a bound, None when it was not."""
    for one in found:
        if (one.work, one.size, one.latency) != (bound.work, bound.size, bound.latency):
            continue
        ours, figure = one.runs[OURS], bound.figure
        if bound.than:
            return _growth(one, bound, found)
        if bound.how is How.ALONE:
            return one.middle(OURS, figure)
        theirs = one.runs.get(bound.against)
        if theirs is None:
            return None
        if bound.how is How.EXTRA:
            return one.middle(OURS, figure) - one.middle(bound.against, figure)
        if bound.plus is None:
            return median(ratio(ours, theirs, figure))
        fast = next((two for two in found if _is_beside(two, bound)), None)
        if fast is None:
            return None
        together = one.middle(bound.against, figure) + fast.middle(OURS, figure)
        return one.middle(OURS, figure) / together
    return None


def _growth(one: Measurement, bound: Bound, found: Sequence[Measurement]) -> float | None:
    """How many times the figure of a smaller size."""
    at = (one.work, bound.than, one.latency)
    smaller = next((two for two in found if (two.work, two.size, two.latency) == at), None)
    if smaller is None:
        return None
    return one.middle(OURS, bound.figure) / smaller.middle(OURS, bound.figure)


def _is_beside(one: Measurement, bound: Bound) -> bool:
    return (one.work, one.size, one.latency) == (bound.work, bound.size, bound.plus)


def lines(found: Sequence[Measurement]) -> Iterator[str]:
    """The tables in Markdown, which a terminal shows well enough."""
    yield f"Measured with {machine()}. Medians: first the tool, then each script. Ratios compare runs in turn."
    yield ""
    yield "| work | what |"
    yield "| --- | --- |"
    yield from (f"| `{work}` | {meaning} |" for work, meaning in MEANINGS.items())
    yield ""
    yield "| work | resources | latency, ms | scripts | wall, s | CPU, s | peak, MB | requests |"
    yield "| --- | ---: | ---: | --- | ---: | ---: | ---: | --- |"
    for one in found:
        scripts = ", ".join(f"`{who}`" for who in one.runs if who != OURS)
        figures = (
            " / ".join(f"{one.middle(who, figure):{form}}" for who in one.runs)
            for figure, form in (("wall", ".2f"), ("cpu", ".2f"), ("memory", ".0f"))
        )
        asked = " / ".join(_requests(runs[-1]["requests"]) for runs in one.runs.values())
        cells = (
            f"`{one.work}`",
            f"{one.size:,}",
            f"{one.latency:g}",
            scripts or "-",
            *figures,
            asked,
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "| bound | at most | measured | kept |"
    yield "| --- | ---: | ---: | --- |"
    for bound in BOUNDS:
        value = value_of(bound, found)
        told = "not measured" if value is None else f"{value:.2f}"
        kept = "-" if value is None else "yes" if value <= bound.most else "**no**"
        yield f"| {bound} | {bound.most:.2f} | {told} | {kept} |"


def _requests(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {verb}" for verb, number in sorted(counts.items())) or "-"


def put_into(page: Path, found: Sequence[Measurement]) -> None:
    """Replace what stands between the two marks of a page."""
    text = page.read_text(encoding="utf-8")
    tables = "\n".join((BEGIN, "", *lines(found), "", END))
    pattern = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    page.write_text(pattern.sub(lambda _: tables, text), encoding="utf-8")
