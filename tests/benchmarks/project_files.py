"""How long `validate` takes for a project file of 20,000 rows; each is to take about 2 s.

`PYTHONPATH=tests python -m benchmarks.project_files [SORT ...]`
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from attack.hostile_projects import GENERATORS
from in_process import run_in_process
from installed import environment

ROWS = 20_000
SORTS = (
    *("chains of moves", "removed and moved", "undeclared variables", "unknown fields"),
    *("overlays", "rows", "rows that require no target", "unknown required targets"),
)


def main() -> None:
    """Print the seconds of the processor for each sort of rows."""
    for sort in sys.argv[1:] or SORTS:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in GENERATORS[sort](ROWS).items():
                Path(folder, name).write_text(text)
            begun = time.process_time()
            typed = ["-t", "t0"] if sort.startswith("rows") else []
            run_in_process(["validate", *typed], Path(folder), environment({}))
            print(f"{ROWS:,}  {sort:30} {time.process_time() - begun:5.1f} s", flush=True)


if __name__ == "__main__":
    main()
