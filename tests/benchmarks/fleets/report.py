"""What was measured, as the tables of docs/scale.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.fleets.costs import Cost
from benchmarks.fleets.whole_runs import WholeRun
from benchmarks.measuring import Run


def print_machine() -> None:
    system = f"{platform.system()} {platform.machine()}"
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors, {system}\n")


def print_costs(costs: Mapping[str, Cost], git: Mapping[str, Cost], target_count: int) -> None:
    rows = [[name, _ms(cost.wall), _ms(cost.cpu)] for name, cost in costs.items()]
    rows += [
        [f"Git: {name} ({target_count:,} targets)", _ms(cost.wall), _ms(cost.cpu)]
        for name, cost in git.items()
    ]
    print_table(["what", "wall ms", "CPU ms"], rows)


def print_run(name: str, run: WholeRun) -> None:
    """All of one run, a line a figure."""
    looks = max(run.looked_count, 1)
    controller = sum(usage.seconds for part, usage in run.parts.items() if part not in _OTHERS)
    ours = controller + run.looks.seconds
    rows = [
        ["targets looked at", f"{run.looked_count:,} of {run.target_count:,}"],
        ["all looked at once after", f"{run.all_looked_at:.0f} s" if run.all_looked_at else "not"],
        ["looks a second", f"{looks / (run.all_looked_at or run.seconds):.1f}"],
        ["lag of looks: median, 99 %, most", "{:.1f} s, {:.1f} s, {:.1f} s".format(*run.lags)],
        ["CPU a look, all of ours", f"{1000 * ours / looks:.1f} ms"],
        ["CPU of ours, of one processor", f"{100 * ours / run.seconds:.0f} %"],
    ]
    for part, usage in {**run.parts, "processes that look": run.looks}.items():
        each = 1000 * usage.seconds / looks
        rows.append(
            [
                f"{part}: processes, CPU, CPU a look, memory at most",
                f"{usage.process_count}, {usage.seconds:.1f} s, {each:.1f} ms, {usage.peak_memory:.0f} MB",
            ]
        )
    size = (
        f"{run.store_bytes / 1e6:.1f} MB, {run.store_bytes / max(run.target_count, 1):,.0f} bytes"
    )
    rows.append(["store, and a target", size])
    rows.append(["a head: accepted until all compared", f"{run.compared_seconds:.1f} s"])
    rows += [
        [f"page {path}: wall, CPU", f"{_ms(cost.wall)} ms, {_ms(cost.cpu)} ms"]
        for path, cost in run.pages.items()
    ]
    for accident in run.accidents:
        rows.append(
            [
                f"{accident.deed}: targets that it had, taken over within",
                f"{accident.claim_count}, {accident.longest_seconds:.1f} s",
            ]
        )
        rates = f"{accident.rate_before:.1f}, {accident.rate_after:.1f}"
        rows.append([f"{accident.deed}: looks a second, 10 s before and after", rates])
    made = f"{run.made_count:,}, {run.made_twice}, {run.missing_count}"
    rows.append(["objects made, made twice, missing", made])
    print(f"### {name}\n")
    print_table(["figure", "measured"], rows)


def print_beside_loop(runs: Mapping[str, Run], count: int) -> None:
    first = next(iter(runs.values()))
    rows = [
        [
            name, f"{run.wall:.1f}", f"{run.cpu:.1f}", f"{run.memory:.0f}",
            f"{run.wall / first.wall:.2f}", f"{run.cpu / first.cpu:.2f}",
        ]
        for name, run in runs.items()
    ]  # fmt: skip
    print(f"### Beside a loop, {count} targets\n")
    print_table(["way", "wall s", "CPU s", "peak MB", "wall ratio", "CPU ratio"], rows)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print(f"| {' | '.join(head)} |")
    print(f"| {' | '.join('---' for _ in head)} |")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"


_OTHERS = ("backend", "database")
