"""A worker: reads orders from standard input, a line each, and answers with a line each.

While it applies, it reads there, too, how long calls may begin.

`python -m synapse_apply.controller.worker` is started by `child.py` alone. Its environment is all
that the targets of one source can name.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from threading import Lock

from synapse_apply.controller.ports import RunResult
from synapse_apply.controller.rows import CallProgress
from synapse_apply.controller.worker.access import HOSTS_VARIABLE, narrow_hosts
from synapse_apply.controller.worker.apply import apply_permitted_rows
from synapse_apply.controller.worker.exchange import Order, encode_progress, encode_result
from synapse_apply.controller.worker.incoming import IncomingLines, RelayedPermit
from synapse_apply.controller.worker.look import look_at_target, read_targets_as_ordered
from synapse_apply.files.commit_memory import remember_commits

# What the tool itself asks for, whatever a target names; none of it is a secret. A proxy, whose
# address may hold a password, is looked for in the process's own environment.
_OWN_VARIABLES = (
    *("HOME", HOSTS_VARIABLE),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"),
)


def main() -> None:
    """Answer until standard input ends."""
    # The pipe of answers; whatever else is printed goes nowhere.
    answers = Answers(os.dup(1))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    # What is in memory here must not be left on a disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Who stops a whole service signals this process, too: its controller says when it is to end.
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    remember_commits()
    permit = RelayedPermit()
    incoming = IncomingLines(permit)
    incoming.start()
    for order in incoming.iter_orders():
        answer = encode_result(_work(order, permit, answers))
        incoming.note_apply_end()
        answers.write(answer)


class Answers:
    """The pipe to the controller: one line at a time, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._file, self._lock = os.fdopen(descriptor, "wb"), Lock()

    def write(self, line: bytes) -> None:
        with self._lock:
            self._file.write(line)
            self._file.flush()

    def tell(self, progress: CallProgress) -> None:
        """Say what the apply does; where nobody reads it, its calls end as they would."""
        with suppress(OSError):
            self.write(encode_progress(progress))


def _work(order: Order, permit: RelayedPermit, answers: Answers) -> RunResult:
    # So that messages name files from the project's folder on.
    os.chdir(order.folder)
    names = {*order.variables, *_OWN_VARIABLES}
    environ = {name: value for name, value in os.environ.items() if name in names}
    if order.hosts:
        environ[HOSTS_VARIABLE] = narrow_hosts(order.hosts, environ.get(HOSTS_VARIABLE))
    if order.read:
        return read_targets_as_ordered(order)
    if order.terms is None:
        return look_at_target(order, environ)
    return apply_permitted_rows(order, order.terms, environ, permit, answers.tell)


if __name__ == "__main__":
    main()
