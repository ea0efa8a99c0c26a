"""A job that is cancelled: the runner tells one process, and that is ours."""

from __future__ import annotations

import signal

from e2e.pipelines.actions import read_action
from e2e.pipelines.conftest import SECRETS, World
from e2e.pipelines.gitlab import Pipeline
from in_process import run
from installed import BIN
from stopping import meets_fault

HANG = {"rules": [{"match": {"method": "POST", "path": "/plugins/"}, "do": {"latency": 3000}}]}


def test_sigterm_to_the_step_drains_the_apply(fresh: World) -> None:
    """GitHub signals the shell that it started: what has begun ends, and is recorded and told."""
    fresh.server.call("PUT", "_emulator/faults/", HANG)
    action = read_action()
    step = next(one for one in action["runs"]["steps"] if one.get("id") == "run")
    runner = fresh.runner("0" * 40)
    runner.clear()
    env = {"COMMAND": "apply", "TARGET": "prod", "ARGS": "--auto-approve", "SAVE": "",
           "REVIEWED": "", "REPORTS": str(runner.temp), "INTERPRETER": str(BIN / "python"), "SECRETS": "",
           **SECRETS}  # fmt: skip
    process = runner.start(step, {"inputs": {"working-directory": "."}}, env)
    meets_fault(fresh.server)
    process.send_signal(signal.SIGTERM)
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 143, log
    told(fresh, log)
    assert "Apply for `prod`" in (runner.temp / "summary").read_text()
    assert "exit_code" in (runner.temp / "outputs").read_text()


def test_sigterm_to_the_script_of_gitlab(fresh: World) -> None:
    """The same for the last line of a script, and the note that after_script writes."""
    fresh.server.call("PUT", "_emulator/faults/", HANG)
    pipeline = Pipeline(fresh, "0" * 40)
    process = pipeline.start(
        ["exec python3 -I -m synapse_apply apply -t prod --auto-approve"], SECRETS
    )
    meets_fault(fresh.server)
    process.send_signal(signal.SIGTERM)
    log, _ = process.communicate(timeout=60)
    assert process.returncode == 143, log
    told(fresh, log)


def told(world: World, log: str) -> None:
    """The call that was under way has ended and is recorded; nothing holds the lock."""
    assert "Apply incomplete" in log
    world.server.call("PUT", "_emulator/faults/", {"rules": []})
    assert len(world.objects("plugin")) == 1
    assert world.objects("release") == []
    listed = run("state show -t prod", world.checkout, SECRETS).stdout
    assert "plugin/defect-detection" in listed
    again = run("apply -t prod --auto-approve --lock-timeout 0", world.checkout, SECRETS).stdout
    assert "release/defect-detection@1.1.0 will be created" in again
    assert "plugin/defect-detection will be created" not in again
