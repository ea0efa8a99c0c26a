"""Plugins that a list shows and that are others': never adopted, and said where one is in the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.applying.bench import Bench, outcome, plugin, told
from unit.applying.scripted import refused

from synapse_apply.model.errors import Forbidden
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Result


def listed(bench: Bench, **plugins: dict[str, Any]) -> None:
    bench.api.list_plugins = lambda: bench.api.all("plugin")  # type: ignore[method-assign]
    for number, (code, fields) in enumerate(plugins.items(), start=70):
        made = {"id": number, "name": code, "code": code, **fields}
        bench.api.objects["plugin"][str(number)] = made


@pytest.mark.parametrize(
    "fields",
    [
        {"system_only": True},
        {"system_only": True, "is_public": True, "tenant": None},
        {"is_public": True, "tenant": None},
        {"tenant": "other"},
        {"tenant": {"id": 9, "code": "other"}},
    ],
)
def test_a_plugin_of_others_is_never_adopted(bench, fields):
    """A list shows it; its code is taken for everybody, which is said."""
    listed(bench, yolo=fields)
    bench.api.tenant = "acme"
    assert bench.plan(plugin()).plan.changes[0].action is Action.CREATE
    bench.api.fail("create_plugin", refused(400, {"code": ["taken"]}))
    report = bench.apply(plugin(), adopts=True)
    assert outcome(report, "plugin/yolo").result is Result.FAILED
    assert "it may be taken by another tenant" in told(report)
    assert not bench.store.read_state().records


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"is_public": True},
        {"tenant": "acme"},
        {"tenant": "ACME"},
        {"tenant": {"id": 9, "code": "acme"}},
        {"tenant": 9},
        {"system_only": False, "tenant": None},
    ],
)
def test_a_plugin_that_may_be_ours_is_adopted(bench, fields):
    """A public one, too; an id of a tenant says nothing of its name."""
    listed(bench, yolo=fields)
    bench.api.tenant = "acme"
    assert bench.plan(plugin()).plan.changes[0].action is Action.ADOPT


def test_an_id_of_a_plugin_of_the_platform_is_refused(bench):
    """Not even where somebody gave its id."""
    listed(bench, other={"system_only": True})
    bench.api.tenant = "acme"
    wanted = plugin("other")
    planned = bench.plan(replace(wanted, remote_id="70")).plan
    assert any(
        "belongs to the platform, not to you" in one.reason for one in planned.changes[0].refusals
    )


def test_a_403_on_an_update_says_that_it_may_not_be_ours(bench):
    """With the way to let it go."""
    bench.apply(plugin())
    failure = Forbidden("403", status_code=403, detail={"detail": "권한이 없습니다."})
    bench.api.fail("update_plugin", failure)
    report = bench.apply(plugin(description="d"))
    assert "belongs to another tenant or to the platform" in told(report)
    assert "`synapse-apply state rm plugin/yolo`" in told(report)
