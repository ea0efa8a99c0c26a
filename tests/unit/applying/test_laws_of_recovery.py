"""Whatever answers are lost and wherever a run is cut: no duplicate, nothing lost, then no change."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.applying.bench import Bench, widget, widget_kind
from unit.applying.scripted import lost, refused
from unit.applying.test_lost_answers import hiding

from synapse_apply import SynapseApplyError
from synapse_apply.model.plan import Cause
from synapse_apply.model.values import SecretRef

NAMES = ("a", "b", "c", "d")
CHILDREN = ("c", "d")
GUARDS = frozenset({"no-manifests", "all-missing", "mass-missing"})


class Killed(BaseException):
    """The end of the process, as far as anything of ours can tell."""


@dataclass(frozen=True)
class Step:
    """One run: what is declared, the secret's value, what goes wrong, what is edited outside."""

    declared: dict[str, tuple[str | None, dict[str, object], bool]]
    secret: str
    faults: list[tuple[str, str, bool]]
    edits: list[tuple[str, str]]


CONFIGURATIONS = st.dictionaries(
    st.sampled_from("xyz"), st.sampled_from([0, 1, {"n": 1}, []]), max_size=2
)
DECLARED = st.tuples(st.none() | st.sampled_from(["", "a", "b"]), CONFIGURATIONS, st.booleans())
FAULTS = st.tuples(
    st.sampled_from(
        ["create_widget", "update_widget", "delete_widget", "get_widget", "list_widget"]
    ),
    st.sampled_from(["lost", "refused", "killed", "crash"]),
    st.booleans(),
)
STEPS = st.builds(
    Step,
    st.fixed_dictionaries({"a": DECLARED}, optional=dict.fromkeys(NAMES[1:], DECLARED)),
    st.sampled_from(["secret-1", "secret-2"]),
    st.lists(FAULTS, max_size=3),
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["note", "gone"])), max_size=1),
)


def desired(step: Step):
    made = []
    for name, (note, configuration, secret) in sorted(step.declared.items()):
        spec = {"configuration": dict(configuration)}
        if note is not None:
            spec["note"] = note
        if secret:
            spec["configuration"]["key"] = SecretRef("env", "W_KEY")
        if name in CHILDREN:
            spec["needs"] = "a"
        made.append(widget(name, **spec))
    return made


def error(kind: str) -> BaseException:
    return {"lost": lost(), "refused": refused(400), "killed": Killed(), "crash": KeyError("x")}[
        kind
    ]


def later(bench: Bench, seconds: float = 600) -> None:
    now = datetime.fromisoformat(bench.clock.at) + timedelta(seconds=seconds)
    bench.clock.at = now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def run(bench: Bench, step: Step):
    bench.environ["W_KEY"] = step.secret
    return bench.apply(*desired(step), prune=True, overridden=GUARDS)


def edit(bench: Bench, name: str, how: str) -> None:
    for pk, found in list(bench.api.objects["widget"].items()):
        if found["name"] == name:
            if how == "gone":
                del bench.api.objects["widget"][pk]
            else:
                found["note"] = "edited"


def no_duplicates(bench: Bench) -> None:
    names = Counter(found["name"] for found in bench.api.objects["widget"].values())
    assert max(names.values(), default=0) <= 1, names


@effort(18, 3000)
@given(st.lists(STEPS, min_size=1, max_size=4), st.booleans())
def test_faults_make_no_duplicates_and_are_healed(steps, hides):
    """After the faults two quiet runs bring everything about; a third has nothing to do."""
    bench = Bench(Path(tempfile.gettempdir()) / "project")
    if hides:
        bench.catalogue = {"widget": widget_kind(decode=hiding)}
    for step in steps:
        for call, kind, done in step.faults:
            bench.api.fail(call, error(kind), done=done and kind != "refused")
        with suppress(Killed, SynapseApplyError, KeyError):
            run(bench, step)
        bench.api.faults.clear()
        no_duplicates(bench)
        for name, how in step.edits:
            edit(bench, name, how)
        later(bench)
    final = steps[-1]
    for _ in range(2):
        report = run(bench, final)
        later(bench)
    no_duplicates(bench)
    assert report.exit_code == 0, report
    assert bench.store.read_state().open_intents == ()
    assert {found["name"] for found in bench.api.objects["widget"].values()} == set(final.declared)
    for name, (note, configuration, secret) in final.declared.items():
        live = bench.live(name)
        if note is not None:
            assert live["note"] == note
        for key, value in configuration.items():
            assert live["configuration"][key] == value or value == {}
        if secret:
            assert live["configuration"]["key"] == final.secret
    planned = bench.plan(*desired(final), prune=True, overridden=GUARDS)
    assert not planned.plan.has_changes, planned.plan.changes
    assert "secret-" not in repr(bench.store.read_state())


# What a call may still do, and for how long after it was announced.
DEADLINE = 94.0
LATE = st.lists(
    st.tuples(
        st.sampled_from(["n1", "n2", "n3"]),
        st.sampled_from(["fine", "fine", "lost", "late", "later", "again"]),
        st.sampled_from([0.0, 3.0, 40.0, 100.0]),
    ),
    min_size=2,
    max_size=7,
)


@effort(45, 5000)
@given(LATE, st.booleans())
def test_a_late_update_never_stays_and_is_nobody_elses(steps, hold):
    """Nobody edits anything here, so no plan says so, and what a run reports as done is live."""
    bench = Bench(Path(tempfile.gettempdir()) / "project")
    rules = {"on_drift": "hold"} if hold else {}
    bench.apply(widget("a", note="n0"))
    seconds, acting = 0.0, []
    for note, deed, pause in [*steps, ("n1", "fine", DEADLINE + 1), ("n1", "fine", 0.0)]:
        for at, late_note in sorted(acting):
            if at <= seconds:
                bench.live("a")["note"] = late_note
        acting = [(at, late_note) for at, late_note in acting if at > seconds]
        desired_widget = widget("a", note=note)
        # Both tries, or the first alone; "again" acts at once, too.
        for _ in range({"fine": 0, "lost": 2, "late": 1, "later": 2, "again": 1}[deed]):
            bench.api.fail("update_widget", lost(), done=deed == "again")
        planned = bench.plan(desired_widget, **rules).plan
        for change in planned.changes:
            assert all(
                field.origin
                for field in (*change.fields, *change.held)
                if field.cause in {Cause.DRIFT, Cause.BOTH}
            ), change
        sent = len(bench.api.bodies)
        report = bench.apply(desired_widget, **rules)
        bench.api.faults.clear()
        if deed in {"late", "later", "again"} and len(bench.api.bodies) > sent:
            acting.append((seconds + DEADLINE / 2, note))
        # Only what was found when it could not act any more may be a person's, and is kept.
        is_kept = any(field.origin for change in planned.changes for field in change.held)
        if report.exit_code == 0:
            assert bench.live("a")["note"] == note or (is_kept and hold)
        seconds += pause
        later(bench, seconds=pause)
    assert report.exit_code == 0


UNSEEN = st.lists(
    st.tuples(
        st.sampled_from([None, "secret-1", "secret-2"]),
        st.sampled_from(["n1", "n2"]),
        st.lists(
            st.tuples(st.sampled_from(["lost", "refused", "killed"]), st.booleans()), max_size=2
        ),
        st.sampled_from([0.0, 40.0, 100.0]),
    ),
    min_size=2,
    max_size=6,
)


@effort(45, 5000)
@given(UNSEEN, st.sampled_from(["shown", "masked", "omitted"]))
def test_what_nobody_saw_arrive_is_sent_again(steps, form):
    """Exit code 0 says that the server has the declared secret, also one that was rolled back."""
    bench = Bench(Path(tempfile.gettempdir()) / "project")
    if form != "shown":
        bench.catalogue = {"widget": widget_kind(decode=partial(hiding, form=form))}
    for secret, note, faults, pause in [("secret-1", "n1", [], 0.0), *steps]:
        for kind, done in faults:
            bench.api.fail("update_widget", error(kind), done=done and kind != "refused")
        configuration = {"key": SecretRef("env", "W_KEY")} if secret else {}
        declared, code = widget("a", note=note, configuration={"x": 1, **configuration}), 1
        bench.environ["W_KEY"] = secret or ""
        with suppress(Killed, SynapseApplyError):
            code = bench.apply(declared).exit_code
        bench.api.faults.clear()
        if code == 0:
            assert bench.live("a")["configuration"].get("key") == secret
            assert not bench.plan(declared).plan.has_changes
        later(bench, seconds=pause)
