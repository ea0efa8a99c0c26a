"""A worker: reads orders from standard input, a line each, and answers with a line each.

`python -m synapse_apply.controller.worker` is started by `child.py` alone. Its environment is all
that the targets of one source can name.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import threading
from typing import BinaryIO

from synapse_apply.controller.worker.exchange import (
    MAX_LINE_BYTES,
    LookOrder,
    decode_order,
    encode_result,
)
from synapse_apply.controller.worker.look import look_at_target

# What the tool itself asks for, whatever a target names; none of it is a secret. A proxy, whose
# address may hold a password, is looked for in the process's own environment.
_OWN_VARIABLES = (
    *("HOME", "SYNAPSE_APPLY_HOSTS"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"),
)


def main() -> None:
    """Answer until standard input ends."""
    answers = _take_standard_output()
    # What is in memory here must not be left on a disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_controller, daemon=True).start()
    while line := sys.stdin.buffer.readline(MAX_LINE_BYTES):
        answers.write(_look_and_encode(decode_order(line)))
        answers.flush()


def _look_and_encode(order: LookOrder) -> bytes:
    # So that messages name files from the project's folder on.
    os.chdir(order.folder)
    names = {*order.variables, *_OWN_VARIABLES}
    environ = {name: value for name, value in os.environ.items() if name in names}
    return encode_result(look_at_target(order, environ))


def _take_standard_output() -> BinaryIO:
    """The pipe of answers; whatever else is printed goes nowhere."""
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return answers


def _end_with_controller() -> None:
    """End this process as soon as nobody can read its answers any more, also amid a look."""
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    while not any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll()):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
