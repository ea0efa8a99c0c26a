"""Calls that are tried: what is sent, in which order, and what a server must show before."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from unit.applying.bench import Bench, widget, widget_kind
from unit.applying.scripted import ScriptedApi, lost, refused

from synapse_apply import Plan, PlanOptions, plan
from synapse_apply.model.errors import Effect, RateLimited, Unconfirmed
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.model.values import SecretRef
from synapse_apply.views.text.plan import render_plan

NOT_SHOWN = "the backend has not shown that it knows dry runs"
KEY = {"key": SecretRef("env", "KEY")}


@dataclass
class Rehearsing(ScriptedApi):
    """What a server makes of dry runs: it `knows` them, it `acts`, or it is `silent` about them.

    It has the objects of the server that it is a side of.
    """

    manner: str = "knows"
    acted_on: frozenset[str] = frozenset()

    def _act(self, name: str, body: Any, work: Any) -> Any:
        if body is None:
            return super()._act(name, body, work)
        before = copy.deepcopy(dict(self.objects))
        acts = self.manner == "acts" or name in self.acted_on
        try:
            made = super()._act(name, body, work)
        finally:
            self.objects.update({} if acts else before)
        if self.manner != "knows":
            raise Unconfirmed("it does not say so", status_code=200, effect=Effect.UNKNOWN)
        return made


@pytest.fixture
def tried(bench: Bench) -> Callable[..., Plan]:
    """Plans widgets whose calls are tried. `shows`: something harmless can be asked before."""
    side = Rehearsing(objects=bench.api.objects)
    bench.api.dry_run = side

    def made(*desired: Any, shows: bool = True, manner: str = "knows", **choices: Any) -> Plan:
        def harmless(api: Any) -> bool:
            if shows:
                api._act("change_nothing", {}, dict)
            return shows

        side.manner = manner
        side.bodies.clear()
        bench.catalogue = {"widget": widget_kind(send_dry_run_probe=harmless)}
        context = bench.context(*desired)
        return plan(context, PlanOptions(**choices), dry_run_progress=bench.progress).plan

    return made


def sent(bench: Bench) -> list[str]:
    return bench.api.dry_run.writes()


def words(made: Plan) -> str:
    return "\n".join(f"{one.summary}: {one.detail} {one.hint}" for one in made.diagnostics)


@pytest.fixture
def there(bench: Bench) -> Bench:
    """Two widgets are applied."""
    bench.apply(widget("a", note="1"), widget("b", note="1"))
    bench.api.bodies.clear()
    return bench


def test_secrets_are_sent_as_apply_sends_them(bench, tried):
    """Their values go out and nowhere else; one that is missing keeps its call back."""
    bench.environ["KEY"] = "k3y-of-tests"
    other = {"key": SecretRef("env", "OTHER")}
    made = tried(widget("a", configuration=KEY), widget("b", configuration=other))
    assert bench.api.dry_run.bodies[1:] == [
        ("create_widget", {"name": "a", "configuration": {"key": "k3y-of-tests"}})
    ]
    assert made.trial == DryRunCounts(tried=1, refused=0, untried=1)
    assert "1 of 2 calls not tried: OTHER is not set (widget/b)." in words(made)
    assert "k3y" not in render_plan(made, color=False) + repr(made)
    assert bench.api.writes() == []


def test_progress_is_told_of_each_call_that_is_tried(there, tried):
    """And of none that is not; a refusal is not a failure."""
    there.progress.order.clear()
    there.progress.ends.clear()
    there.api.dry_run.fail("create_widget", refused(400, {"name": ["is odd"]}))
    there.api.dry_run.fail("update_widget", lost())
    key = widget("d", configuration={"key": SecretRef("env", "NOT_SET")})
    tried(widget("a", note="2"), widget("b", note="1"), widget("c"), key)
    assert sorted(there.progress.order) == ["widget/a", "widget/c"]
    assert sorted(there.progress.ends) == [
        ("widget/a", "try", "failed"),
        ("widget/c", "try", "refused"),
    ]


def test_words_that_may_quote_a_secret_are_withheld(bench, tried):
    """A refusal tells status, request id and what is said of fields that hold none."""
    bench.environ["KEY"] = "k3y-of-tests"
    detail = {"name": ["is odd"], "configuration": ["k3y-of-tests is wrong"]}
    bench.api.dry_run.fail("create_widget", refused(400, detail))
    (row,) = tried(widget("a", configuration=KEY)).refused_changes
    (refusal,) = row.refusals
    assert refusal.rule == "server"
    assert refusal.reason.startswith("the backend answered 400 to a dry run: name: is odd; ")
    assert "configuration was refused; (rest of the message hidden" in refusal.reason
    assert refusal.reason.endswith("(request id req-9)")
    assert "k3y" not in repr(row)


def test_what_needs_another_is_not_tried(bench, tried):
    """An id that nobody knows cannot be sent."""
    made = tried(widget("top"), widget("low", needs="top"))
    assert made.trial == DryRunCounts(tried=1, untried=1)
    assert "it needs widget/top, which does not exist yet (widget/low)" in words(made)


def test_nothing_is_sent_to_a_server_that_does_not_say_so(there, tried):
    """The harmless question is the only one, whether it would act or not."""
    for manner in ("acts", "silent"):
        made = tried(widget("a", note="2"), widget("c"), manner=manner, prune=True)
        assert sent(there) == ["change_nothing"]
        assert "The backend does not confirm that it supports dry runs" in words(made)
        assert f"3 of 3 calls not tried: {NOT_SHOWN} (" in words(made)
        assert not made.has_errors
    assert [there.live(name)["note"] for name in "ab"] == ["1", "1"]


@pytest.mark.parametrize("manner", ["knows", "acts", "silent"])
def test_without_a_harmless_question_nothing_is_tried(there, tried, manner):
    """What the server is like would show in a call that might be carried out."""
    made = tried(widget("c"), widget("a", note="2"), shows=False, manner=manner, prune=True)
    assert sent(there) == []
    assert f"3 of 3 calls not tried: {NOT_SHOWN} (" in words(made)
    assert not made.has_errors
    assert [there.live(name)["note"] for name in "ab"] == ["1", "1"]


def test_a_lost_answer_of_a_server_that_knows_dry_runs(bench, tried):
    """It did no harm, and says nothing of the call."""
    bench.api.dry_run.fail("create_widget", lost())
    limited = RateLimited("429", status_code=429)
    bench.api.dry_run.fail("create_widget", limited)
    made = tried(widget("a"), widget("b"))
    assert "2 of 2 calls not tried: no answer came in time (widget/a); " in words(made)
    assert "the backend answered 429 (widget/b)." in words(made)
    assert not made.has_errors
    assert not made.refused_changes


def test_a_delete_that_was_done_is_found_out(there, tried):
    """Its answer has no body to say so: it is looked whether the object is still there."""
    there.api.dry_run.acted_on = frozenset({"delete_widget"})
    made = tried(widget("c"), prune=True, overridden=frozenset({"everything"}))
    assert sent(there).count("delete_widget") == 1
    assert "The backend should only check the delete of widget/" in words(made)
    assert made.has_errors


@pytest.mark.parametrize(
    ("look", "summary"),
    [
        (403, "The backend may have acted on a dry run"),
        (0, "The backend did not confirm a dry run"),
    ],
)
def test_a_later_answer_that_does_not_say_so(bench, tried, look, summary):
    """The object is looked up; a look that fails is no proof either way."""

    def says_nothing(*_args: Any) -> Any:
        if look:
            bench.api.fail("list_widget", refused(look))
        raise Unconfirmed("it does not say so", status_code=200, effect=Effect.UNKNOWN)

    bench.api.dry_run.make = says_nothing
    made = tried(widget("a"))
    assert sent(bench)[0] == "change_nothing"
    assert summary in words(made)
    assert made.has_errors is bool(look)
