"""`python -m fault.dying`: one apply that dies by SIGKILL before or after its n-th state write."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from synapse_apply.planning.situation import Choices
from synapse_apply.session.apply import apply, check
from synapse_apply.session.context import open_context
from synapse_apply.session.plan import plan
from synapse_apply.session.where import Where
from synapse_apply.views.progress import Silent

WRITES = frozenset({"begin", "settle", "put", "remove", "move", "mark_applied"})


class Dying:
    """A state store whose process does not outlive a certain write."""

    def __init__(self, store: Any, nth: int, moment: str) -> None:
        """Dies `before` or `after` the `nth` write; never with 0."""
        self._store = store
        self._nth = nth
        self._moment = moment
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in WRITES:
            return method

        def write(*given: Any) -> None:
            self.writes += 1
            dies = self.writes == self._nth
            if dies and self._moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            method(*given)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)

        return write


def main(folder: str, nth: str, moment: str) -> None:
    where = Where(directory=Path(folder), target="site", environ=os.environ, parallelism=1)
    with open_context(where) as context, context.store.lock("apply"):
        store = Dying(context.store, int(nth), moment)
        dying = replace(context, store=store)
        planned = plan(dying, Choices())
        check(planned.plan)
        report = apply(dying, planned, Silent())
        print(store.writes, report.exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
