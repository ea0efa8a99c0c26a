"""How a commit's project file is read: in a child with a deadline, once for each new head."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from synapse_apply.controller.ports import LabelledTarget, RunResult, SourceUnavailable
from synapse_apply.controller.rows import RunOutcome
from synapse_apply.controller.settings import Source
from synapse_apply.controller.source.access import source_folders
from synapse_apply.controller.source.committed_project import read_committed_targets
from synapse_apply.controller.worker.child import Child
from synapse_apply.controller.worker.conversations import LookConversation
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.controller.worker.look import build_result_of_failure
from synapse_apply.files.programs import build_child_environment
from synapse_apply.model.errors import InputError

READ_SECONDS = 60.0
_NOT_STARTED = RunResult(RunOutcome.WORKER_LOST)


def read_targets_in_child(
    source: Source, data: Path, commit: str, pin: str, seconds: float = READ_SECONDS
) -> tuple[LabelledTarget, ...]:
    """The targets that a commit of a source's mirror declares; `pin` as in CommittedProject.

    The child has no variable of the controller. InputError where the project file cannot be used;
    SourceUnavailable where the commit cannot be read, and after so many seconds.
    """
    data = data.absolute()  # a worker has another working folder
    folders = source_folders(data, source)
    read = (source.name, source.path, source.project_from, str(data), pin)
    order, result = Order("", commit, str(folders.mirror), read=read), _NOT_STARTED
    with suppress(OSError):
        child = Child(build_child_environment((), {"HOME": str(folders.home)}))
        try:
            result = child.work_or_kill(order, LookConversation(seconds))
        finally:
            child.kill()
    if result.outcome is RunOutcome.IN_SYNC:
        return result.targets
    if result.outcome is RunOutcome.PLAN_ERROR:
        raise InputError(*result.findings)
    took = f"took longer than {seconds:g} s" if result.outcome is RunOutcome.TIMEOUT else "failed"
    raise SourceUnavailable.from_summary(
        "The project file cannot be read",
        f"{source.name}: reading the project file {took}.",
        "Is it the file that was meant? It is tried again, less often each time.",
        position=source.position,
    )


def read_targets_as_ordered(order: Order) -> RunResult:
    """In the child: the targets, or why the file cannot be used; all else ends the child."""
    name, path, project_from, data, pin = order.read
    source = Source(name, "", path=path, project_from=project_from)
    try:
        targets = read_committed_targets(source, Path(data), order.commit, pin)
    except InputError as problem:
        return build_result_of_failure(problem.diagnostics)
    return RunResult(RunOutcome.IN_SYNC, targets=targets)
