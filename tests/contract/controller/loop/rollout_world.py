"""A world whose source has targets in three waves, with live objects that looks compare and applies change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from contract.controller.loop.stand_ins import FAILURE, IN_SYNC, World, plan_of, row

from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.planned_rows import RowCause
from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import (
    CallCounts,
    RolloutRow,
    RolloutState,
    RunOutcome,
    TargetName,
    WaveRow,
)
from synapse_apply.controller.settings import MINUTE, Mode, Rollout, TargetRule, Wave
from synapse_apply.controller.worker.exchange import Order

AUTO = TargetRule("*", mode=Mode.AUTO)
CANARIES = Wave(targets=("canary-*",))
STANDARD = Wave(labels={"tier": "standard"})
PROD = Wave(targets=("prod-*",))
ALL = Rollout("all", "acme", (CANARIES, STANDARD, PROD))
WAVE_1, WAVE_2, WAVE_3 = ["canary-1"], ["eu-1", "eu-2"], ["prod-1"]
TARGETS = [*WAVE_1, *WAVE_2, *WAVE_3]
ANN, BOB = "proxy:ann", "token:bob"


class RolloutWorld(World):
    """`live` is what each target is live with, `writes` every apply as `TARGET TEXT`, in order.

    What is in `failing` cannot be applied: a target, or `TARGET TEXT`.
    """

    def __init__(self, folder: Path, rollout: Rollout | None = ALL) -> None:
        super().__init__(folder, rules=(AUTO,))
        self.live: dict[str, str] = {}
        self.writes: list[str] = []
        self.failing: set[str] = set()
        self.on_look: Callable[[Order], None] = lambda _: None
        self.repository.labels = {name: {"tier": "standard"} for name in WAVE_2}
        self.add_targets(*TARGETS, "eu-3", "canary-2")
        if rollout is not None:
            self.set_rollouts(rollout)

    def add_targets(self, *targets: str) -> None:
        for target in targets:
            self.workers.results[f"acme/{target}"] = self._look
            self.workers.applied[f"acme/{target}"] = self._apply

    def push(self, commit: str, *targets: str, text: str = "") -> None:
        """Push a commit that has other inputs for these targets (none: for all of them)."""
        inputs = dict.fromkeys(targets or TARGETS, text or commit)
        self.repository.push(commit, **inputs)

    def _look(self, request: Order) -> RunResult:
        # Before the hook: what a look sees is what was live when it began.
        result = self._compare(request.target, request.commit)
        self.on_look(request)
        return result

    def _compare(self, name: TargetName, commit: str) -> RunResult:
        target = name.target
        wanted = self.repository.inputs[commit][target]
        live = self.live.get(target, "")
        if live == wanted:
            return IN_SYNC
        cause = RowCause.DRIFT if live.startswith("by hand") else RowCause.GIT
        return plan_of(row(f"plugin/{target}", cause=cause))

    def _apply(self, request: Order, read_permit: Callable[[], Permit]) -> RunResult:
        target = request.target.target
        assert not read_permit().reason
        text = self.repository.inputs[request.commit][target]
        plan = self._compare(request.target, request.commit)
        if not self.failing.isdisjoint((target, f"{target} {text}")):
            outcome, calls = RunOutcome.APPLY_FAILED, CallCounts(failed=1)
            return replace(plan, outcome=outcome, calls=calls, findings=FAILURE.findings)
        self.writes.append(f"{target} {text}")
        self.live[target] = text
        return replace(plan, outcome=RunOutcome.APPLIED, calls=CallCounts(done=1))

    def take_writes(self) -> list[str]:
        """What was written since the last call, in order."""
        writes, self.writes = self.writes, []
        return writes

    def wait(self, loop: ControllerLoop, seconds: float, step: float = 60.0) -> None:
        """Let time pass in steps, with rounds of the loop."""
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            self.settle(loop)
            seconds -= step

    def follow(self, loop: ControllerLoop) -> None:
        """Have the source fetched, and let rounds pass until there is nothing to do."""
        self.wait(loop, 90, step=30)

    def reload(self, loop: ControllerLoop) -> None:
        """Have a running loop take the settings as they are now, and follow the source."""
        loop._reload = self.configure
        loop.request_reload()
        self.settle(loop)
        self.follow(loop)

    @property
    def rollout(self) -> RolloutRow:
        found = self.store.find_rollout("all")
        assert found is not None
        return found

    def describe_rollout(self) -> str:
        row = self.rollout
        return f"{row.commit} wave {row.wave} {row.state.value}"

    def list_waves(self) -> list[WaveRow]:
        return list(self.store.list_waves("all", self.rollout.number))

    def list_wanted(self) -> dict[str, str]:
        """The commit that each target is to be at."""
        names = [row.name.target for row in self.store.source_targets("acme")]
        return {name: self.get_target(name).wanted_commit for name in names}

    def list_audit_of_rollouts(self) -> list[str]:
        """What the audit has of the rollout, oldest first, without the commit."""
        return [
            f"{audit.who} {audit.action}: {audit.detail.partition(': ')[2]}"
            for audit in self.store.iter_audit()
            if audit.subject == "acme/all"
        ]


def start_after_first_head(world: RolloutWorld, *waves: Wave, **changes: object) -> ControllerLoop:
    """A loop whose rollout of the first head is over; nothing was written or told yet."""
    rollout = replace(ALL, waves=waves or ALL.waves, **changes)  # type: ignore[arg-type]
    world.set_rollouts(rollout)
    loop = world.begin()
    while world.rollout.state is not RolloutState.DONE:
        if world.rollout.state is RolloutState.WAITING:
            loop.get_people_actions().approve_wave_or_refuse(ANN, "all", 1, world.rollout.wave)
        world.wait(loop, 6 * MINUTE, step=180)
    assert world.take_writes() == []
    world.inbox.messages.clear()
    return loop
