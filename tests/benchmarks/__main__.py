"""Measures the installed command beside scripts that a user would write instead.

All of it takes many minutes: `make bench`. One work at one size:
`PYTHONPATH=tests python -m benchmarks --work plan --sizes 1000 --latencies 20`. What is measured
replaces the same in the JSON file, from which the page is made.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.tables import Measurement, lines, put_into
from benchmarks.works import WORKS, measured

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def main() -> None:
    """Measure what was asked for, print all that is known, and write it down."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--work", nargs="+", choices=list(WORKS), default=list(WORKS))
    add("--sizes", nargs="+", type=int, help="numbers of resources, else those of each work")
    add("--latencies", nargs="+", type=float, help="milliseconds, else those of each work")
    add("--repeats", type=int, default=3)
    add("--json", type=Path, default=Path("bench.json"), metavar="FILE")
    add("--page", action="store_true", help="put tables and plots into docs/")
    add("--print-only", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    known = [Measurement(**one) for one in _read(asked.json)]
    for name in () if asked.print_only else asked.work:
        work = WORKS[name]
        for size in asked.sizes or work.sizes:
            for latency in (asked.latencies or work.latencies) if work.needs_backend else [0.0]:
                print(f"{name}, {size:,} at {latency:g} ms ...", flush=True)
                runs = measured(work, size, latency, asked.repeats)
                new = Measurement.of(name, size, latency, runs)
                known = [one for one in known if _key(one) != _key(new)] + [new]
                asked.json.write_text(json.dumps([asdict(one) for one in known], indent=1))
    order = list(WORKS)
    known.sort(key=lambda one: (order.index(one.work), one.size, one.latency))
    print("\n".join(lines(known)))
    if asked.page:
        from benchmarks.plots import draw

        put_into(PAGE, known)
        draw(known, PAGE.with_suffix(".svg"))


def _read(file: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(file.read_text()) if file.exists() else []
    return found


def _key(one: Measurement) -> tuple[str, int, float]:
    return one.work, one.size, one.latency


if __name__ == "__main__":
    main()
