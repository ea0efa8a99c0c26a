"""Starts the worker children of a controller as forks: to import all that they need takes 0.3 s each.

The commands that the demo runs are forks as well. A worker's pipes, environment, arguments, folder and session are those of the real one, and so is
how it is killed. What its interpreter looks into, and what /proc says of its environment, is to be
tested with the real one.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from importlib.resources import files

import pytest
from forking import ForkedProcess, start_forks_of_this_process

from synapse_apply.controller.page import rendering
from synapse_apply.controller.worker import child
from synapse_apply.files import programs


def load_page_templates() -> None:
    """Compile what the first pages of a controller would else compile, in a tenth of a second."""
    environment, _ = rendering._build_environment_and_content_policy()
    for file in files(rendering.__package__).joinpath(rendering._TEMPLATES).iterdir():
        if file.name.endswith(".html"):
            environment.get_template(file.name)


class ForkedController(ForkedProcess):
    """A `controller run` or `controller run --worker` whose own children are forks, too."""

    prepared_by = "controllers.forked_workers:fork_workers_of_this_process"


def fork_workers_of_this_process() -> None:
    """In a process that has done nothing yet."""
    start_forks_of_this_process()
    programs._start_in_own_session = start_own_program_by_fork  # type: ignore[assignment]


_start_program = programs._start_in_own_session


def fork_workers(patch: pytest.MonkeyPatch) -> None:
    """For a controller in the test's process."""
    patch.setattr(programs, "_start_in_own_session", start_own_program_by_fork)


def start_own_program_by_fork(
    command: Sequence[str], environment: Mapping[str, str], error_stream: int
) -> subprocess.Popen[bytes] | subprocess.Popen[str]:
    """As `programs` starts any program; a fork where it is this package in an isolated Python."""
    if tuple(command[:3]) != child._COMMAND[:3] or not command[3].startswith("synapse_apply"):
        return _start_program(command, environment, error_stream)
    return ForkedProcess(
        command,
        env=dict(environment),
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=error_stream,
        start_new_session=True,
    )
