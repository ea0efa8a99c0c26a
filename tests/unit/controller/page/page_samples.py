"""Stores as a page may meet them: a few targets in all conditions, 10,000, and hostile ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unit.views import plan_samples

from synapse_apply import Plan
from synapse_apply.controller.ports import ActionRefused, Durations, LoopHealth, NewCommits
from synapse_apply.controller.rows import (
    ChangeCounts,
    PauseRow,
    RestoredField,
    RevisionEnd,
    RevisionRow,
    RunCause,
    RunOutcome,
    RunRow,
    RunVerb,
    SessionRow,
    SourceRow,
    StatusRow,
    StatusState,
    StatusText,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import (
    Controller,
    ForgeStatus,
    SecretName,
    Source,
    TargetRule,
)
from synapse_apply.controller.store.controller_store import ControllerStore, SqliteControllerStore
from synapse_apply.model.codec import plan_to_json
from synapse_apply.model.diagnostic import Position, error_finding
from synapse_apply.model.plan import Action
from synapse_apply.views.text.findings import format_quoted_path

NOW = 1_795_762_800.0  # 2026-11-27 07:00:00 UTC
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
OLD_COMMIT, HEAD_COMMIT = "8c1f0e5a" * 5, "3b92d7c4" * 5
COMMITS = (OLD_COMMIT, "51d07b3e" * 5, HEAD_COMMIT)
BROKEN = error_finding(
    "Unknown field",
    "`categry` is no field of a storage.",
    "Did you mean `category`?",
    position=Position("manifests/storages.yaml", 12, 3),
    address="storage/raw-data",
)
REFUSED_TOKEN = error_finding(
    "The backend refused the token",
    "https://api.synapse.example answered 401 to GET /api/v2/plugins.",
    "Renew the token, and set the variable PROD_EU_TOKEN.",
    request_id="7f9c24e5d1",
)
SETTINGS = Controller(
    "platform",
    {
        "acme": Source(
            "acme",
            "https://github.com/acme/synapse.git",
            status=ForgeStatus(
                "github", "acme/synapse", SecretName("env", "T"), "https://api.github.com"
            ),
        ),
        "vision": Source("vision", "git@gitlab.example:vision/plugins.git"),
    },
    listen_port=0,
    public_url="https://synapse-apply.acme.example",
)

# A field that waits, one that waits for a person, one that never waits, and one restored once.
RESTORED = (
    RestoredField(
        "plugin/yolo", "description", (NOW - HOUR, NOW - 1000, NOW - 900, NOW - 800),
        "controller:other", next_at=NOW + 20 * MINUTE,
    ),
    RestoredField("storage/raw-data", "", (NOW - 900, NOW - 800, NOW - 700), is_held=True),
    RestoredField("plugin/yolo", "category", (NOW - 9, NOW - 8, NOW - 7), is_always=True),
    RestoredField("plugin/yolo", "name", (NOW - 60,)),
)  # fmt: skip


class Recorder:
    """Remembers what was asked; refuses all of it once it was told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self._refusal: ActionRefused | None = None

    def refuse(self, summary: str, detail: str, hint: str) -> None:
        self._refusal = ActionRefused.from_summary(summary, detail, hint)

    def _record(self, *call: object) -> None:
        if self._refusal is not None:
            raise self._refusal
        self.calls.append(call)


class StubPeopleActions(Recorder):
    def log_in(self, who: str, session: SessionRow, old_digest: str) -> None:
        self._record("log in", who, session.token_name, old_digest)

    def reconcile_soon_or_refuse(self, who: str, name: TargetName) -> None:
        self._record("reconcile", who, str(name))

    def pause_scope_or_refuse(self, who: str, scope: str, reason: str, until: float) -> PauseRow:
        self._record("pause", who, scope, reason, until)
        return PauseRow(scope, who, reason, NOW, until)

    def resume_scope_or_refuse(self, who: str, scope: str) -> None:
        self._record("resume", who, scope)

    def approve_rows_or_refuse(
        self,
        who: str,
        name: TargetName,
        row_digests: Sequence[str],
        groups: Sequence[str] = (),
        reason: str = "",
    ) -> None:
        self._record("approve", who, str(name), *row_digests, *filter(None, [reason]))

    def reject_rows_or_refuse(
        self, who: str, name: TargetName, row_digests: Sequence[str], reason: str
    ) -> None:
        self._record("reject", who, str(name), *row_digests, reason)

    def roll_back_or_refuse(
        self, who: str, name: TargetName, revision: str, plan: str, reason: str
    ) -> None:
        self._record("rollback", who, str(name), revision, plan, reason)

    def approve_wave_or_refuse(self, who: str, rollout: str, number: int, wave: int) -> None:
        self._record("approve", who, rollout, number, wave)

    def resume_rollout_or_refuse(self, who: str, rollout: str, number: int) -> None:
        self._record("resume", who, rollout, number)

    def skip_wave_or_refuse(
        self, who: str, rollout: str, number: int, wave: int, reason: str
    ) -> None:
        self._record("skip", who, rollout, number, wave, reason)

    def abort_rollout_or_refuse(self, who: str, rollout: str, number: int, reason: str) -> None:
        self._record("abort", who, rollout, number, reason)


class StubLoop:
    """A loop that goes round; remembers which sources were to be fetched."""

    def __init__(self, settings: Controller = SETTINGS, health: LoopHealth | None = None) -> None:
        self.settings = settings
        self.health = health or LoopHealth(
            2.5,
            60.0,
            0.4,
            {
                (RunVerb.LOOK, RunOutcome.IN_SYNC): Durations(61.2, (0, 0, 2, 39, *[0] * 7)),
                (RunVerb.LOOK, RunOutcome.PLAN_ERROR): Durations().plus(0.1).plus(1.9),
            },
        )
        self.asked: list[str] = []
        self.authors: tuple[str, ...] | None = ()
        self.commits: NewCommits | None = None
        self.people = StubPeopleActions()

    def fetch_soon(self, source: str) -> None:
        self.asked.append(source)

    def get_settings(self) -> Controller:
        return self.settings

    def read_health(self) -> LoopHealth:
        return self.health

    def find_strictest_rule(self, name: TargetName) -> TargetRule | None:
        source = self.settings.sources.get(name.source)
        return find_rule(source, name.target) if source else None

    def next_commits(self, _name: TargetName) -> NewCommits | None:
        return self.commits

    def next_authors(self, _name: TargetName) -> tuple[str, ...] | None:
        return self.authors

    def get_people_actions(self) -> StubPeopleActions:
        return self.people

    @property
    def rollouts(self) -> StubPeopleActions:
        return self.people


def open_store(folder: Path) -> SqliteControllerStore:
    """An empty store."""
    store = SqliteControllerStore(folder)
    store.create_or_upgrade()
    return store


def format_plan(plan: Plan) -> str:
    return json.dumps(plan_to_json(plan))


def build_run(number: int, name: TargetName, outcome: RunOutcome, **more: object) -> RunRow:
    """A run that began `number` hours after some time."""
    began_at = NOW - 12 * HOUR + number * HOUR
    values = {
        "id": f"01JDP{number:03d}{name.target[:9].upper():0<9}ABCDEFG",
        "commit": HEAD_COMMIT,
        "cause": RunCause.INTERVAL,
        "ended_at": began_at + 4.2,
        "last_seen_at": began_at + 4.2,
        **more,
    }
    return RunRow(target=name, began_at=began_at, outcome=outcome, **values)  # type: ignore[arg-type]


def fill_few(store: ControllerStore) -> None:
    """Two sources; six targets, one in each condition."""
    targets = [
        *_build_targets("acme", "dev", TargetCondition.IN_SYNC, applied=HEAD_COMMIT),
        *_build_targets("acme", "staging", TargetCondition.PENDING, applied=OLD_COMMIT,
                        counts=ChangeCounts(add=2, change=1)),
        *_build_targets("acme", "prod-eu", TargetCondition.FAILING, applied=OLD_COMMIT, failures=4),
        *_build_targets("acme", "prod-us", TargetCondition.DRIFTED, applied=HEAD_COMMIT,
                        counts=ChangeCounts(change=1, drifted=1), restored=RESTORED),
        *_build_targets("vision", "lab", TargetCondition.REFUSED, applied=OLD_COMMIT,
                        counts=ChangeCounts(change=1, refused=1, guards=1)),
        *_build_targets("vision", "archive", TargetCondition.NOT_LOOKED_AT),
    ]  # fmt: skip
    with store.write() as writer:
        for name in ("acme", "vision"):
            writer.put(SourceRow(name, fetched_at=NOW - 20, due_at=NOW + 40))
            for revision in build_revisions(name):
                writer.accept_head(
                    name, revision.number - 1, replace(revision, end=RevisionEnd.NONE)
                )
                writer.put(revision)
        labels = {"dev": {"tier": "test"}, "prod-eu": {"tier": "standard", "region": "eu"},
                  "prod-us": {"tier": "standard", "region": "us"}}  # fmt: skip
        writer.replace_labels("acme", labels)
        writer.replace_labels("vision", {"lab": {"tier": "test"}})
        for target in targets:
            writer.put(target)
            for run in _build_runs(target):
                writer.put(run)
        writer.put(
            StatusRow(
                "acme",
                HEAD_COMMIT,
                "synapse-apply/platform/acme",
                StatusText(StatusState.FAILURE, "1 of 4 failed: prod-eu", "https://x.example"),
                StatusText(StatusState.FAILURE, "1 of 4 failed: prod-eu", "https://x.example"),
                NOW - 600,
            )
        )


def build_revisions(source: str) -> Sequence[RevisionRow]:
    """Three heads of a source: one that ended well, a broken one, and one that mends it."""
    first, broken, head = COMMITS
    return (
        RevisionRow(source, 1, first, NOW - 2 * DAY, "Mina Park", "Add the archive storage",
                    RevisionEnd.SUCCESS, "planned only: 3 changes", NOW - 2 * DAY + 30,
                    overtaken_by=broken),
        RevisionRow(source, 2, broken, NOW - 5 * HOUR, "Jonas Weber", "Move raw data to eu-central-1",
                    RevisionEnd.FAILURE, "1 of 4 failed: prod-eu", NOW - 5 * HOUR + 50,
                    overtaken_by=head),
        RevisionRow(source, 3, head, NOW - HOUR, "Jonas Weber", "Write category as the schema has it",
                    RevisionEnd.FAILURE, "1 of 4 failed: prod-eu", NOW - HOUR + 42),
    )  # fmt: skip


def _build_targets(
    source: str, name: str, state: TargetCondition, applied: str = "", **more: object
) -> list[TargetRow]:
    is_known = state is not TargetCondition.NOT_LOOKED_AT
    values = {
        "looked_at": NOW - 5 * MINUTE if is_known else 0.0,
        "changed_at": NOW - 3 * HOUR if is_known else 0.0,
        "backend_host": "api.synapse.example" if is_known else "",
        **more,
    }
    return [
        TargetRow(
            TargetName(source, name), HEAD_COMMIT, 3, applied, state=state,
            last_run=_build_last_run_id(TargetName(source, name)) if is_known else "",
            due_at=NOW + 5 * MINUTE, **values,  # type: ignore[arg-type]
        )
    ]  # fmt: skip


def _build_last_run_id(name: TargetName) -> str:
    return build_run(11, name, RunOutcome.IN_SYNC).id


def _build_runs(target: TargetRow) -> Sequence[RunRow]:
    """Twelve runs, the last of which is the target's newest."""
    last = {
        TargetCondition.IN_SYNC: (RunOutcome.IN_SYNC, "", ()),
        TargetCondition.PENDING: (
            RunOutcome.CHANGES,
            format_plan(plan_samples.PLANS["create"]),
            (),
        ),
        TargetCondition.FAILING: (RunOutcome.PLAN_ERROR, "", (REFUSED_TOKEN, BROKEN)),
        TargetCondition.DRIFTED: (RunOutcome.CHANGES, _format_plan_with("drift"), ()),
        TargetCondition.REFUSED: (RunOutcome.CHANGES, _format_plan_with("everything"), ()),
    }.get(target.state)
    if last is None:
        return ()
    outcome, plan_json, findings = last
    before = (RunOutcome.IN_SYNC, RunOutcome.IN_SYNC, RunOutcome.CHANGES, RunOutcome.IN_SYNC)
    runs = [build_run(n, target.name, before[n % 4], commit=OLD_COMMIT) for n in range(11)]
    runs.append(
        build_run(
            11, target.name, outcome, plan_json=plan_json, findings=findings, counts=target.counts,
            cause=RunCause.PUSH, repeats=5, last_seen_at=NOW - 5 * MINUTE,
        )
    )  # fmt: skip
    return runs


SENT = (
    "declared by commit 8c1f0e5a8c1f of Jonas Weber (manifests/storages.yaml:12); sent "
    "2026-11-27T04:20:07Z by call 0b6f1c52-54f5-4a6e-9f0e-2f4f6a1f4c11 (request req-7f9c24e5d1), "
    "update of apply c498adf2-7b6f-4df1-95ce-65e3b77a9961 by controller:platform, approved by "
    "proxy:ann; changed outside between 2026-11-27T04:10:02Z and 2026-11-27T04:20:07Z, put back "
    "2026-11-27T04:20:07Z, 4th time this week"
)


def _format_plan_with(name: str) -> str:
    plan = plan_samples.PLANS.get(name, plan_samples.PLANS["everything"])
    blamed = [
        replace(each, blame=tuple((format_quoted_path(one.path), SENT) for one in each.fields))
        if each.action is Action.UPDATE else each
        for each in plan.changes
    ]  # fmt: skip
    return format_plan(replace(plan, changes=tuple(blamed)))


def fill_many(store: ControllerStore, count: int, runs: int = 8) -> None:
    """`count` targets of four sources with some runs each; one in a hundred is not in sync."""
    states = (TargetCondition.FAILING, TargetCondition.REFUSED, TargetCondition.DRIFTED,
              TargetCondition.PENDING)  # fmt: skip
    with store.write() as writer:
        for source in ("acme", "globex", "initech", "umbrella"):
            writer.put(SourceRow(source, fetched_at=NOW - 20, due_at=NOW + 40))
            for revision in build_revisions(source):
                writer.accept_head(source, revision.number - 1, revision)
        for index in range(count):
            source = ("acme", "globex", "initech", "umbrella")[index % 4]
            state = states[index // 100 % 4] if index % 100 == 0 else TargetCondition.IN_SYNC
            is_failing = state is TargetCondition.FAILING
            target = TargetRow(
                TargetName(source, f"tenant-{index:05d}"),
                HEAD_COMMIT,
                3,
                HEAD_COMMIT if state is TargetCondition.IN_SYNC else OLD_COMMIT,
                state=state,
                counts=ChangeCounts(change=1 + index % 7) if state is not TargetCondition.IN_SYNC
                else ChangeCounts(),
                last_run=f"01JDP007{index:05d}",
                looked_at=NOW - index % 600,
                changed_at=NOW - 60 * (index % 5000),
                due_at=NOW + index % 600,
                failures=3 if is_failing else 0,
            )  # fmt: skip
            writer.put(target)
            for number in range(8 - runs, 8):
                is_last = number == 7
                writer.put(
                    replace(
                        build_run(
                            number, target.name,
                            RunOutcome.PLAN_ERROR if is_last and is_failing else RunOutcome.CHANGES
                            if number % 3 == 0 else RunOutcome.IN_SYNC,
                            findings=(REFUSED_TOKEN,) if is_last and is_failing and index % 800 == 0 else (BROKEN,) if is_last and is_failing else (),
                        ),
                        id=f"01JDP{number:03d}{index:05d}",
                    )
                )  # fmt: skip
