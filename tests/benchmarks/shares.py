"""Where the processor time of our command goes: shares of its parts, from a profile of all threads.

`PYTHONPATH=tests python -m benchmarks.shares plan 10000`. A profile slows short functions more than
long ones, so shares are a hint where to look, and no measurement of seconds.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.works import SLOW, WORKS, fresh
from benchmarks.worlds import SHAPES, World

# Parts by the function that does it: (file, function). None stands in another.
PARTS = {
    "start-up: modules": ("<frozen importlib._bootstrap>", "_find_and_load"),
    "parsing YAML with line numbers": (
        "manifests/yaml/reader.py",
        "collect_documents_past_broken_ones",
    ),
    "schemas, secret fields, decoding": (
        "manifests/decode/loading.py",
        "_decode_documents_and_report",
    ),
    "reading the state": ("stores/sql.py", "read_state"),
    "reading lists of live objects, masking secrets": (
        "live/live_reader.py",
        "store_declared_lookups",
    ),
    "preparing values for comparison": (
        "live/comparable_values.py",
        "known_resource_states",
    ),
    "the plan": ("planning/planner.py", "build_plan"),
    "the text of the plan": ("views/text/plan.py", "render_plan"),
    "HTTP: the calls of an apply": (
        "applying/steps/create.py",
        "_call_create_with_remote_error_as_result",
    ),
    "writing intents": (
        "applying/write_intents.py",
        "acquire_slot_and_write_stamped_intents_in_time",
    ),
    "comparing and recording outcomes": ("applying/steps/create.py", "_record_created_objects"),
}


def main() -> None:
    """Print the shares of one work at one size."""
    work, size = WORKS[sys.argv[1]], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), SHAPES[work.shape], size)
        world.empty() if work.is_first else world.fill()
        world.keep()
        world.change(work.changed)
        with fresh(world, work, SLOW) if work.writes else world.serving(SLOW):
            environ = {**world.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
            typed = [sys.executable, "-m", "benchmarks.shares", "--profiled", *work.typed]
            subprocess.run(typed, cwd=world.project, env=environ, check=True)


def profiled(typed: list[str]) -> None:
    """Run the command in this process, each thread with a profile of its own processor time."""
    from synapse_apply.cli.main import run

    profiles = [cProfile.Profile(time.thread_time)]
    begin = threading.Thread.run

    def beside(thread: threading.Thread) -> None:
        profiles.append(cProfile.Profile(time.thread_time))
        profiles[-1].runcall(begin, thread)

    threading.Thread.run = beside  # type: ignore[method-assign]
    shown, sys.stdout = sys.stdout, Path(os.devnull).open("w")  # noqa: SIM115 - for all that follows
    code = profiles[0].runcall(run, typed)
    sys.stdout = shown
    if code:
        sys.exit(code)
    stats = pstats.Stats(*profiles)
    print("| part | share |\n| --- | ---: |")
    left = 1.0
    for part, (file, name) in PARTS.items():
        seconds = sum(
            found[3]
            for (where, _line, function), found in stats.stats.items()  # type: ignore[attr-defined]
            if function == name and where.endswith(file)
        )
        share = seconds / stats.total_tt  # type: ignore[attr-defined]
        left -= share
        if share >= 0.005:
            print(f"| {part} | {share:.0%} |")
    print(f"| the rest | {left:.0%} |")


if __name__ == "__main__":
    profiled(sys.argv[2:]) if sys.argv[1] == "--profiled" else main()
