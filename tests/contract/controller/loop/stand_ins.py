"""What the loop is given in these tests: a repository, workers, a forge, an inbox, a clock."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.loop.parts import ConfiguredParts, EventLog, LoopParts
from synapse_apply.controller.planned_rows import PlannedRow, RowAction, RowCause
from synapse_apply.controller.ports import (
    Head,
    LabelledTarget,
    NewCommits,
    Permit,
    RunResult,
    SendResult,
    SourceUnavailable,
)
from synapse_apply.controller.rows import (
    CallCounts,
    ChangeCounts,
    MessageRow,
    PauseRow,
    RevisionEnd,
    RunOutcome,
    StatusRow,
    StatusText,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.judging import judge_rows
from synapse_apply.controller.settings import (
    Access,
    AccessRule,
    Channel,
    Controller,
    Defaults,
    Event,
    ProxyAccess,
    Right,
    Rollout,
    SecretName,
    Source,
    TargetRule,
)
from synapse_apply.controller.store.controller_store import SqliteControllerStore
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError

PROD = TargetName("acme", "prod")
IN_SYNC = RunResult(RunOutcome.IN_SYNC, result_digest="in sync", backend_host="api.example")
CHANGES = RunResult(RunOutcome.CHANGES, ChangeCounts(add=1), result_digest="one to add")
DRIFT = RunResult(RunOutcome.CHANGES, ChangeCounts(change=1, drifted=1), result_digest="drift")
FAILURE = RunResult(
    RunOutcome.PLAN_ERROR, findings=(error_finding("Broken"),), result_digest="broken"
)


def row(
    address: str,
    action: RowAction = RowAction.UPDATE,
    cause: RowCause = RowCause.GIT,
    **fields: object,
) -> PlannedRow:
    """A row of a plan, whose digest is that of its address and action."""
    digest = f"row1:{address}:{action.value}"
    return PlannedRow(digest, address, action, (cause,), **fields)  # type: ignore[arg-type]


def list_digests(rows: Sequence[PlannedRow | str]) -> list[str]:
    return [row if isinstance(row, str) else row.digest for row in rows]


def plan_of(*rows: PlannedRow) -> RunResult:
    """What a look finds whose plan has these rows, IN_SYNC for none."""
    if not rows:
        return IN_SYNC
    drifted = sum(RowCause.DRIFT in row.causes for row in rows)
    counts = ChangeCounts(change=len(rows), drifted=drifted)
    digest = ",".join(row.digest for row in rows)
    return RunResult(
        RunOutcome.CHANGES, counts, plan_json='{"rows": 1}', result_digest=digest, rows=rows
    )


_PEOPLE = ("ann", "bob", "eve", *(f"p{number}" for number in range(20)))
ACCESS = Access(
    ProxyAccess("X-User", "X-Secret", SecretName("env", "PROXY_SECRET")),
    {"bob": SecretName("env", "TOKEN_OF_BOB")},
    rules=(
        AccessRule(
            ("token:bob", *(f"proxy:{name}" for name in _PEOPLE)), frozenset(Right), ("acme/*",)
        ),
    ),
)


class StandInClock:
    """A wall clock and a counter that tests move."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.counter = 50.0

    def read_wall(self) -> float:
        return self.wall

    def read_counter(self) -> float:
        return self.counter

    def draw_fraction(self) -> float:
        return 0.5

    def draw_random_bytes(self, count: int) -> bytes:
        return bytes(count)

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.counter += seconds


class StandInRepository:
    """A Mirror: commits in a row or beside it, each with a digest for each of its targets."""

    def __init__(self) -> None:
        self.inputs: dict[str, dict[str, str]] = {}
        self.parents: dict[str, str] = {}
        self.head = ""
        self.broken: set[str] = set()
        self.unverifiable: set[str] = set()
        self.unreadable: set[str] = set()
        self.missing: set[str] = set()
        self.is_away = False
        self.during_fetch: Callable[[], object] = lambda: None
        self.authors: tuple[str, ...] = ("Kim", "kim@acme.example")
        self.are_authors_unknown = False
        self.fetches = 0
        self.commits_in_use: Sequence[str] = ()
        self.labels: dict[str, dict[str, str]] = {}
        self.backends: dict[str, str] = {}
        self.pin = ""
        # Of a commit's target or, where there is a pin, of the pin's.
        self.credentials: dict[tuple[str, str], tuple[str, ...]] = {}

    def push(self, commit: str, parent: str = "", **inputs: str) -> None:
        """Make a commit the head; targets that are not named keep the inputs of its parent."""
        parent = parent or self.head
        self.inputs[commit] = {**self.inputs.get(parent, {}), **inputs}
        self.parents[commit] = parent
        self.head = commit

    def fetch_head(self, followed: tuple[str, ...] = ()) -> Head:
        self.fetches += 1
        self.during_fetch()
        if self.is_away:
            raise SourceUnavailable(error_finding("The repository is not reached"))
        return Head(self.head, "Kim", f"subject of {self.head}", pin=self.pin)

    def fetch_commit(self, commit: str, followed: tuple[str, ...] = ()) -> bool:
        is_missing = commit in self.missing
        self.missing.discard(commit)
        return is_missing

    def find_newer_head(self, commit: str) -> str | None:
        is_newer = commit != self.head and self.is_same_or_descendant(self.head, commit)
        return self.head if is_newer and not self.is_away else None

    def is_same_or_descendant(self, commit: str, ancestor: str) -> bool:
        while commit and commit != ancestor:
            commit = self.parents.get(commit, "")
        return commit == ancestor

    def require_signed(self, commit: str, live: frozenset[str] | None) -> None:
        if commit in self.unverifiable:
            raise SourceUnavailable(error_finding("The source's signatures cannot be verified"))

    def list_new_commits(self, commit: str, since_commit: str) -> NewCommits:
        return NewCommits((), 0)

    def list_author_names_and_emails(self, commit: str, since_commit: str) -> tuple[str, ...]:
        if self.are_authors_unknown:
            raise SourceUnavailable(error_finding("The repository is not read"))
        return self.authors

    def protect_commits(self, commits: Sequence[str]) -> None:
        self.commits_in_use = commits

    def read_pin(self) -> str:
        return self.pin

    def list_targets(self, commit: str, pin: str = "") -> tuple[LabelledTarget, ...]:
        if commit in self.broken:
            raise InputError(error_finding("Duplicate key"))
        if commit in self.unreadable:
            raise SourceUnavailable(error_finding("The source's commit cannot be read"))
        return tuple(
            LabelledTarget(
                name,
                self.labels.get(name, {}),
                digest=digest,
                backend=self.backends.get(name, ""),
                credentials=self.credentials.get((pin or self.pin or commit, name), ()),
            )
            for name, digest in sorted(self.inputs[commit].items())
        )


class StandInWorkers:
    """Answers looks by target, IN_SYNC where a test sets nothing; a lock holds them up.

    An apply does what its terms permit of the rows of the target's look, if it has a permit; what
    is left is the next plan. A test can set another answer.
    """

    def __init__(self) -> None:
        self.results: dict[str, RunResult | Callable[[Order], RunResult]] = {}
        self.applied: dict[str, RunResult | Callable[[Order, Callable[[], Permit]], RunResult]] = {}
        self.asked: list[str] = []
        self.applies: list[Order] = []
        self.looks: list[Order] = []
        self.is_stopped = False
        self.running = Counter[str]()
        self.most_running = 0
        self.gate = threading.Event()
        self.gate.set()
        self.is_closed = False
        self._lock = threading.Lock()

    def look(self, request: Order) -> RunResult:
        name = str(request.target)
        with self._lock:
            self.looks.append(request)
            self.asked.append(name)
            self.running[name] += 1
            assert self.running[name] == 1
            self.most_running = max(self.most_running, self.running.total())
        try:
            self.gate.wait(60)
            if self.is_closed:
                return RunResult(RunOutcome.WORKER_LOST)
            result = self.results.get(name, IN_SYNC)
            return result(request) if callable(result) else result
        finally:
            with self._lock:
                self.running[name] -= 1

    def apply(
        self, request: Order, read_permit: Callable[[], Permit], _tell: object = None
    ) -> RunResult:
        name = str(request.target)
        self.applies.append(request)
        answer = self.applied.get(name)
        if answer is not None:
            return answer(request, read_permit) if callable(answer) else answer
        plan = self.results[name]
        assert isinstance(plan, RunResult)
        rows, permit = plan.rows, read_permit()
        judgement = judge_rows(rows, request.terms)
        count = len(judgement.permitted_rows)
        if permit.reason:
            return replace(
                plan,
                outcome=RunOutcome.APPLY_STOPPED,
                calls=CallCounts(skipped=count),
                stop_reason=permit.reason,
            )
        self.results[name] = plan_of(*(r for r in rows if r not in judgement.permitted_rows))
        used_approvals = tuple(i for ids in judgement.used_approvals.values() for i in ids)
        return replace(
            plan,
            outcome=RunOutcome.APPLIED,
            calls=CallCounts(done=count),
            used_approvals=used_approvals,
            report_json="{}",
        )

    def stop_applies(self) -> None:
        self.is_stopped = True

    def close(self) -> None:
        self.is_closed = True
        self.gate.set()


# In the context that sums a source up: synapse-apply/CONTROLLER/SOURCE.
SUMMARY_SLASHES = 2


class StandInForge:
    """A StatusSender that remembers what each commit shows, and every status that came."""

    def __init__(self) -> None:
        self.shown: dict[str, StatusText] = {}
        self.shown_of_targets: dict[tuple[str, str], StatusText] = {}
        self.sent: list[tuple[str, StatusText]] = []
        self.reads = 0
        self.failures: list[SendResult] = []
        self.clock_offset: float | None = None

    def send(self, row: StatusRow) -> SendResult:
        if self.failures:
            return self.failures.pop(0)
        *_, target = row.context.split("/", 3)
        if row.context.count("/") > SUMMARY_SLASHES:
            self.shown_of_targets[row.commit, target] = row.wished
            return SendResult()
        self.shown[row.commit] = row.wished
        self.sent.append((row.commit, row.wished))
        return SendResult()

    def read_shown_text(self, row: StatusRow) -> StatusText | None:
        self.reads += 1
        return self.shown.get(row.commit)

    def get_clock_offset_or_none(self) -> float | None:
        return self.clock_offset

    def describe_targets(self, commit: str) -> dict[str, str]:
        """The state and the words that each target shows on a commit."""
        return {
            target: f"{text.state.value}: {text.description}"
            for (shown_commit, target), text in self.shown_of_targets.items()
            if shown_commit == commit
        }

    def describe(self) -> dict[str, str]:
        """The state and the words that each commit shows."""
        return {c: f"{text.state.value}: {text.description}" for c, text in self.shown.items()}


class StandInInbox:
    """A MessageSender that keeps what it gets, and refuses what it is to fail at."""

    def __init__(self) -> None:
        self.messages: list[MessageRow] = []
        self.failures: dict[str, SendResult] = {}

    def send(self, row: MessageRow) -> SendResult:
        if failure := self.failures.get(f"{row.event} {row.fields['target'] or ''}".strip()):
            return failure
        self.messages.append(row)
        return SendResult()

    def describe(self) -> list[str]:
        return [f"{row.event} {row.fields['target'] or ''}".strip() for row in self.messages]


RULES = (TargetRule("*"),)


class World:
    """One source `acme`, and whatever a controller of it needs; the store outlives controllers."""

    def __init__(self, folder: Path, **source: object) -> None:
        self.clock = StandInClock()
        self.repository = StandInRepository()
        self.workers = StandInWorkers()
        self.forge = StandInForge()
        self.inbox = StandInInbox()
        self.log = io.StringIO()
        self.store = SqliteControllerStore(folder)
        self.store.create_or_upgrade()
        self.settings = Controller(
            "main",
            {"acme": Source("acme", "url", **{"rules": RULES, **source})},  # type: ignore[arg-type]
            Defaults(),
            (Channel("inbox", "webhook", SecretName("env", "X"), frozenset(Event)),),
            listen_port=0,
            public_url="https://page.example",
            access=ACCESS,
        )

    def set_rules(self, *rules: TargetRule) -> None:
        """Have other rules from the next start, or the next reload, on."""
        source = replace(self.settings.sources["acme"], rules=rules)
        self.settings = replace(self.settings, sources={"acme": source})

    def set_rollouts(self, *rollouts: Rollout) -> None:
        """Have these rollouts from the next start, or the next reload, on."""
        self.settings = replace(self.settings, rollouts={one.name: one for one in rollouts})

    def get_target(self, target: str) -> TargetRow:
        """A target of the source, as the store has it."""
        row = self.store.find_target(TargetName("acme", target))
        assert row is not None
        return row

    def configure(self) -> ConfiguredParts:
        names = self.settings.sources
        return ConfiguredParts(
            self.settings,
            dict.fromkeys(names, self.repository),
            dict.fromkeys(names, self.forge),
            {"inbox": self.inbox},
        )

    def build_loop(self) -> ControllerLoop:
        log = EventLog(self.log)
        parts = LoopParts(self.configure(), self.store, self.workers, self.clock, log)
        self.loop = ControllerLoop(parts)
        return self.loop

    # What people ask of the newest loop; rows by themselves or by their digests

    def approve(self, who: str, *rows: PlannedRow | str, target: TargetName = PROD) -> None:
        people = self.loop.get_people_actions()
        people.approve_rows_or_refuse(who, target, list_digests(rows))

    def reject(
        self, who: str, reason: str, *rows: PlannedRow | str, target: TargetName = PROD
    ) -> None:
        people = self.loop.get_people_actions()
        people.reject_rows_or_refuse(who, target, list_digests(rows), reason)

    def pause(self, who: str, scope: str, reason: str, seconds: float) -> PauseRow:
        until = self.clock.wall + seconds
        people = self.loop.get_people_actions()
        return people.pause_scope_or_refuse(who, scope, reason, until)

    def resume(self, who: str, scope: str) -> None:
        self.loop.get_people_actions().resume_scope_or_refuse(who, scope)

    def reconcile(self, who: str, name: TargetName) -> None:
        self.loop.get_people_actions().reconcile_soon_or_refuse(who, name)

    def run_once(self, after: float = 0.0) -> list[str]:
        """One round of a controller that is started anew; the targets that were looked at."""
        self.clock.advance(after)
        self.workers.asked, self.workers.is_closed = [], False
        self.build_loop().run_once()
        return sorted(self.workers.asked)

    def begin(self) -> ControllerLoop:
        """A new loop, which is started."""
        loop = self.build_loop()
        self.start(loop)
        return loop

    def start(self, loop: ControllerLoop, *, is_settled: bool = True) -> None:
        """Start a loop and let a moment pass, in which new targets become due; then as `settle`."""
        self.workers.is_closed = False
        loop._take_part()
        self.settle(loop)
        self.clock.advance(1)
        if is_settled:
            self.settle(loop)

    def act_during_look(
        self, result: RunResult, act: Callable[[], object], target: str = "acme/prod"
    ) -> None:
        """Have somebody act at the end of the next look, who waits for a slow writer of the store.

        So the look ends between: it reads what was before, and writes what comes after.
        """
        is_held, threads = threading.Event(), list[threading.Thread]()

        def hold_store() -> None:
            with self.store.write():
                is_held.set()
                time.sleep(1.0)

        def look(_request: Order) -> RunResult:
            for step in (hold_store, act) if not threads else ():
                threads.append(threading.Thread(target=step, daemon=True))
                threads[-1].start()
                assert is_held.wait(60)
            time.sleep(0.2)
            return result

        self.workers.results[target] = look

    def settle(self, loop: ControllerLoop, after: float = 0.0) -> list[str]:
        """Rounds of a running loop until there is nothing to do, `after` so many seconds."""
        self.clock.advance(after)
        self.workers.asked = []
        for _ in range(200):
            was_idle, started = loop._tasks.is_idle(), loop._tasks.started_count
            loop._go_round()
            if was_idle and loop._tasks.started_count == started:
                break
            assert loop._tasks.wait_until_idle(60)
        return sorted(self.workers.asked)


def describe_runs(world: World, target: str = "prod") -> list[str]:
    """The runs of a target, oldest first."""
    runs = world.store.newest_runs(TargetName("acme", target), 20)
    return [f"{run.verb.value} {run.outcome.value}" for run in reversed(runs)]


def list_cause_details(world: World) -> set[str]:
    """What the runs of prod came of, where that is one of several things."""
    runs = world.store.newest_runs(TargetName("acme", "prod"), 20)
    return {run.cause_detail for run in runs}


def end_of(world: World, commit: str) -> tuple[RevisionEnd, str]:
    revision = world.store.find_revision("acme", commit)
    assert revision is not None
    return revision.end, revision.description
