"""State and backend are read again where the state moved while they were read."""

from __future__ import annotations

from typing import Any

from unit.applying.bench import Bench, widget

from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action
from synapse_apply.model.state import Record

OTHER_RUN = "Another run is changing this target"


class Meanwhile:
    """Does to a bench what another run does, before each of so many lists of widgets."""

    def __init__(self, bench: Bench, times: int) -> None:
        self._bench, self._left, self._all = bench, times, bench.api.all
        bench.api.all = self._listing  # type: ignore[method-assign]
        self.made = 0

    def _listing(self, kind: str, *more: Any) -> Any:
        if self._left:
            self._left -= 1
            self.made += 1
            name = f"w{self.made}"
            raw = self._bench.api.make("widget", {"name": name})
            record = Record(Address("widget", name), str(raw["id"]), "v1", f"name={name}")
            with self._bench.store.lock("apply"):
                self._bench.store.write_records(record)
        return self._all(kind, *more)


def test_a_run_that_ended_while_we_looked_is_looked_at_anew(bench: Bench) -> None:
    """The serial has moved: state and backend are read once more, and agree."""
    Meanwhile(bench, times=1)
    planned = bench.plan(widget("w1"))
    assert [one.action for one in planned.plan.changes] == [Action.NO_OP]
    assert planned.plan.base.serial == bench.store.read_serial()
    assert planned.plan.diagnostics == ()


def test_runs_that_never_stop_are_said_and_nothing_is_an_import(bench: Bench) -> None:
    """Two looks and no more: the plan ends, with what could be seen."""
    others = Meanwhile(bench, times=100)
    planned = bench.plan(widget("w1"), widget("w2"))
    assert others.made == 2
    assert planned.plan.summary.import_ == 0
    assert [one.summary for one in planned.plan.diagnostics] == [OTHER_RUN]
