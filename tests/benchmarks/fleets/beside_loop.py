"""The controller beside a plain loop of `synapse-apply apply` over the same targets."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import measuring
from benchmarks.fleets.controllers import Controllers
from benchmarks.fleets.tenants import BIN, Tenants
from benchmarks.measuring import Run

# One in so many targets has an object still to make.
_INCOMPLETE_SHARE = 10


def measure_beside_loop(count: int) -> dict[str, Run]:
    """What each of three ways costs that bring so many targets to where Git says.

    Each has its own copy of all: a backend, states, a repository. One in ten targets lacks an
    object, and has it afterwards.
    """
    ways = {
        "a loop of `apply -t NAME`": _apply_one_by_one,
        "one `apply -t '*'`": _apply_all,
        "`controller run --once`": _run_controller_once,
    }
    runs = {}
    for name, way in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            tenants = Tenants(Path(folder), count, _INCOMPLETE_SHARE)
            with tenants.serve():
                runs[name] = way(tenants)
            assert set(tenants.count_objects()) == {4}, (name, tenants.count_objects())
            assert tenants.count_made_twice() == 0
    return runs


def _apply_one_by_one(tenants: Tenants) -> Run:
    command = [str(BIN / "synapse-apply"), "apply", "--auto-approve", "-t"]
    runs = [
        measuring.run([*command, tenants.get_name(number)], tenants.checkout, tenants.environ)
        for number in range(tenants.count)
    ]
    wall, cpu = sum(run.wall for run in runs), sum(run.cpu for run in runs)
    return Run(wall, cpu, max(run.memory for run in runs))


def _apply_all(tenants: Tenants) -> Run:
    command = [str(BIN / "synapse-apply"), "apply", "--auto-approve", "-t", "*"]
    return measuring.run(command, tenants.checkout, tenants.environ)


def _run_controller_once(tenants: Tenants) -> Run:
    controllers = Controllers(tenants, mode="auto")
    controllers.write_configurations()
    file, data = controllers.root / "0.yaml", controllers.root / "data-0"
    command = [str(BIN / "synapse-apply"), "controller", "run", str(file), "--data", str(data)]
    return measuring.run([*command, "--once"], controllers.root, controllers.environ)
