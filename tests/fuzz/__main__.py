"""Fuzz the command: `python -m fuzz --seconds 900 [NAME ...]`; `make fuzz` runs all of them.

python -m fuzz manifests --seed 7 --number 42    makes and runs that one input again
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import time

from fuzz.answers import Answers
from fuzz.manifests import Manifests
from fuzz.plans import Plans
from fuzz.projects import Projects
from fuzz.states import States
from fuzz.watch import Ended, Fuzzer, fuzzed

FUZZERS: dict[str, Callable[[], Fuzzer]] = {
    fuzzer.name: fuzzer for fuzzer in (Manifests, Projects, Plans, Answers, States)
}


def main() -> int:
    """Run the fuzzers that were named; 1 where an input failed."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FUZZERS))
    parser.add_argument("--seconds", type=float, default=900, help="for each fuzzer")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument(
        "--inputs", type=int, default=None, help="no more than this for each fuzzer"
    )
    parser.add_argument("--again", type=Path, default=None, help="an input to run, of one fuzzer")
    parser.add_argument("--to", type=Path, default=Path("build/fuzz"), help="for inputs that fail")
    given = parser.parse_args()
    if unknown := set(given.names) - set(FUZZERS):
        parser.error(f"no fuzzer is called {', '.join(sorted(unknown))}")
    seed = given.seed if given.seed is not None else int(time())
    one = {"most": given.inputs} if given.inputs else {}
    one = {"most": 1, "again": given.again.read_bytes()} if given.again else one
    ended = []
    for name in given.names or FUZZERS:
        print(f"{name}: {given.seconds:.0f} s with seed {seed} ...", flush=True)
        ended.append(fuzzed(FUZZERS[name], seed, given.seconds, given.to.absolute(), **one))
        _tell(ended[-1])
    print("\n" + "\n".join(one.line for one in ended))
    return int(any(one.failures for one in ended))


def _tell(ended: Ended) -> None:
    for failure in ended.failures:
        print(f"\n{failure.fuzzer}, input {failure.number}: kept as {failure.file}")
        print(f"again: python -m fuzz {failure.fuzzer} --again {failure.file}")
        print(failure.what)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
