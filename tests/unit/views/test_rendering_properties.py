"""Laws of every rendering: it never raises, it never shows a secret, it is the same each time."""

import json
from pathlib import Path

import jsonschema
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from unit.views import plan_samples as samples

from synapse_apply import Report
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import format_json_pointer
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, Refusal
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    KnownAfterApply,
    Mac,
    SecretRef,
    Sensitive,
    WithheldSecret,
)
from synapse_apply.views.json.documents import (
    format_redacted_json_document,
    plan_document,
    report_document,
)
from synapse_apply.views.markdown.report import render_plan_markdown, render_report_markdown
from synapse_apply.views.text.outcomes import render_report
from synapse_apply.views.text.plan import render_plan

CANARY = "c4n4ry-value"
SCHEMA = json.loads(
    (Path(__file__).parents[3] / "schemas/v1/plan.schema.json").read_text(encoding="utf-8")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
TEXT = st.text(st.characters(codec=None), max_size=12)
SECRETS = st.sampled_from(
    [
        Sensitive(CANARY),
        Sensitive({"deep": [CANARY]}),
        SecretRef("literal", literal=Sensitive(CANARY)),
        DesiredSecret(SecretRef("env", "NAME"), Mac("k", CANARY)),
        Mac("k", CANARY),
        WithheldSecret("masked"),
    ]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT, SECRETS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
SIDES = st.one_of(
    VALUES, st.just(ABSENT), st.just(KnownAfterApply(samples.YOLO)), st.just(object())
)
PATHS = st.lists(TEXT | st.integers(0, 9), min_size=1, max_size=4).map(tuple)
FIELDS = st.builds(FieldChange, PATHS, SIDES, SIDES, st.sampled_from(Cause), st.booleans(), TEXT)
TREES = st.none() | st.dictionaries(TEXT, VALUES, max_size=4)
CHANGES = st.builds(
    Change,
    address=st.builds(
        Address, TEXT.map(lambda t: "k" + t.replace("/", "")), TEXT.map("n{}".format)
    ),
    action=st.sampled_from(Action),
    fields=st.lists(FIELDS, max_size=4).map(tuple),
    refusals=st.lists(st.builds(Refusal, TEXT, TEXT, st.tuples(TEXT)), max_size=1).map(tuple),
    notes=st.lists(TEXT, max_size=2).map(tuple),
    remote_id=TEXT,
    reason=TEXT,
    before=TREES,
    after=TREES,
    before_sensitive=st.lists(PATHS, max_size=2).map(tuple),
    after_sensitive=st.lists(PATHS, max_size=2).map(tuple),
    after_unknown=st.lists(PATHS, max_size=2).map(tuple),
    extras=st.dictionaries(st.just("package"), VALUES, max_size=1),
)
PLANS = st.lists(CHANGES, max_size=3).map(lambda changes: samples.plan(*changes))


def everything_shown(plan):
    """Every rendering of a plan, and of a report on it."""
    outcomes = tuple(Outcome(c.address, c.action, Result.UNKNOWN) for c in plan.changes)
    report = Report(plan, outcomes)
    for unchanged in (True, False):
        yield render_plan(plan, color=unchanged, width=60, show_unchanged=unchanged)
    yield render_report(report, color=True)
    yield format_redacted_json_document(plan_document(plan))
    yield format_redacted_json_document(report_document(report))
    yield render_plan_markdown(plan)
    yield render_report_markdown(report)


@effort(15, 600)
@given(PLANS)
def test_any_plan_renders_without_a_secret(plan):
    """Arbitrary values never raise; no secret, digest or type's content is shown; UTF-8 always."""
    for output in everything_shown(plan):
        assert CANARY not in output
        assert output.endswith("\n")
        output.encode("utf-8")


@effort(15, 600)
@given(PLANS)
def test_any_plan_document_passes_its_schema(plan):
    """The JSON text of any plan is valid JSON of the published shape, the same each time."""
    text = format_redacted_json_document(plan_document(plan))
    assert text == format_redacted_json_document(plan_document(plan))
    assert not list(VALIDATOR.iter_errors(json.loads(text)))


@effort(15, 600)
@given(st.lists(PATHS, min_size=1, max_size=3, unique_by=format_json_pointer), TREES)
def test_what_a_path_marks_is_never_shown(paths, tree):
    """A value at a sensitive path stays hidden even where a planner forgot to take it out."""
    whole = {**(tree or {})}
    for path in paths:
        plant(whole, path)
    fields = (FieldChange(("spec",), ABSENT, {"a": 1}, Cause.NONE),)
    fields += tuple(FieldChange(path, CANARY, [CANARY], Cause.GIT) for path in paths)
    fields += tuple(FieldChange((key,), ABSENT, value, Cause.GIT) for key, value in whole.items())
    changes = [
        Change(
            samples.YOLO,
            action,
            given_fields,
            before=whole,
            after=whole,
            before_sensitive=tuple(paths),
            after_sensitive=tuple(paths),
        )
        for action in Action
        for given_fields in (fields, ())
    ]
    for output in everything_shown(samples.plan(*changes)):
        assert CANARY not in output


def plant(tree, path):
    """The canary at a path, whatever stood in the way."""
    for part in path[:-1]:
        below = tree.get(part)
        tree[part] = dict(below) if isinstance(below, dict) else {}
        tree = tree[part]
    tree[path[-1]] = CANARY


def test_a_plan_does_not_depend_on_the_order_of_keys():
    """Fields in any order give the same text."""
    turned = samples.Change(
        **{
            name: getattr(samples.UPDATE, name)
            for name in samples.UPDATE.__dataclass_fields__
            if name != "fields"
        },
        fields=samples.UPDATE.fields[::-1],
    )
    one, other = (render_plan(samples.plan(c), color=False) for c in (samples.UPDATE, turned))
    assert one == other


def test_a_number_too_long_for_python_renders():
    """An integer beyond Python's limit for decimal text is shown in hexadecimal."""
    change = samples.Change(
        samples.YOLO, Action.CREATE, fields=(samples.new("big", value=1 << 20_000),)
    )
    for output in everything_shown(samples.plan(change)):
        assert len(output) < 20_000


def test_a_very_deep_value_renders():
    """Nesting deeper than Python's stack likes is cut, not a crash."""
    value: object = 1
    for _ in range(150):
        value = {"a": [value]}
    change = samples.Change(
        samples.YOLO,
        Action.UPDATE,
        fields=(samples.moved("deep", before=value, after=1), samples.new("list", value=[value])),
        before={"deep": value},
        after={"deep": value},
    )
    for output in everything_shown(samples.plan(change)):
        assert "deep" in output or "Apply" in output or "plan" in output
