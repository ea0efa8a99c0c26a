"""What each library costs where nothing is installed but the wheel with all extras.

`release.py costs` makes such an environment: a library imports more where it finds more. What is
printed is the table of docs/performance.md.
"""

from __future__ import annotations

import ast
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

OURS = distribution("synapse-apply")
PACKAGE = Path(str(OURS.locate_file("synapse_apply")))
REPEATS = 5
MEASURE = "import time; began = time.process_time(); import {}; print(time.process_time() - began)"


def list_libraries(extra: str = "") -> list[Requirement]:
    """What the wheel asks for with an extra and not without it, or without any."""
    asked = [Requirement(text) for text in OURS.requires or ()]
    if not extra:
        return [one for one in asked if not one.marker]
    return [one for one in asked if one.marker and one.marker.evaluate({"extra": extra})]


def collect(asked: list[Requirement]) -> set[str]:
    """The libraries and all that they bring along on this system."""
    found: set[tuple[str, str]] = set()
    ahead = [(normal(one.name), extra) for one in asked for extra in ("", *one.extras)]
    while ahead:
        name, extra = ahead.pop()
        if (name, extra) not in found:
            found.add((name, extra))
            below = map(Requirement, distribution(name).requires or ())
            ahead += [
                (normal(one.name), more) for one in below for more in ("", *one.extras)
                if not one.marker or one.marker.evaluate({"extra": extra})
            ]  # fmt: skip
    return {name for name, _ in found}


@cache
def find_size(name: str) -> float:
    """MB of its files, without bytecode."""
    files = (Path(str(file.locate())) for file in distribution(name).files or ())
    return sum(file.stat().st_size for file in files if file.suffix != ".pyc") / 1e6


@cache
def find_imports() -> dict[str, set[str]]:
    """The modules that the package imports, of each library; of others all that they have."""
    owners, found, known = packages_distributions(), dict[str, set[str]](), dict[str, set[str]]()
    for top, names in owners.items():
        for name in names:
            known.setdefault(normal(name), set()).add(top)
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            for module in modules:
                for name in owners.get(module.partition(".")[0], ()):
                    found.setdefault(normal(name), set()).add(module)
    return known | found


@cache
def measure_import(name: str) -> float:
    """Milliseconds of a processor, in an interpreter that has imported nothing: the median."""
    code = MEASURE.format(", ".join(sorted(find_imports()[name])))
    runs = [subprocess.check_output([sys.executable, "-I", "-c", code]) for _ in range(REPEATS)]
    return 1000 * statistics.median(map(float, runs))


def list_lines() -> Iterator[str]:
    extras = sorted(OURS.metadata.get_all("Provides-Extra") or ())
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield f"Measured with {system}."
    yield ""
    yield "| library | of | version | MB | with what it brings | import, ms |"
    yield "| --- | --- | --- | ---: | ---: | ---: |"
    for extra in ("", *extras):
        for one in list_libraries(extra):
            name, brought = normal(one.name), collect([one])
            yield (
                f"| {name} | {f'`[{extra}]`' if extra else 'all'} | {distribution(name).version} | "
                f"{find_size(name):.1f} | {sum(map(find_size, brought)):.1f} ({len(brought)}) | "
                f"{measure_import(name):.0f} |"
            )
    default = collect(list_libraries())
    yield ""
    own = f"{find_size('synapse-apply'):.1f} MB of its own"
    yield f"Without extras: {tell(default)}, and {own}. With one, besides:"
    yield ""
    for extra in extras:
        yield f"- `[{extra}]`: {tell(collect(list_libraries(extra)) - default)}"


def tell(names: set[str]) -> str:
    noun = "library" if len(names) == 1 else "libraries"
    return f"{len(names)} {noun} of {sum(map(find_size, names)):.1f} MB" if names else "nothing"


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    print("\n".join(list_lines()))
