"""The signature of a saved plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from unit.applying.bench import Bench, widget

from synapse_apply import PlanOptions
from synapse_apply.model.values import Sensitive
from synapse_apply.operations import saved_plan


def test_a_signature_is_no_digest_of_a_secret(bench: Bench, tmp_path: Path) -> None:
    """Those of earlier versions were, as of a secret without a salt, and are taken still."""
    context, path = bench.context(widget("a")), tmp_path / "next"
    saved_plan.save_plan_to_new_file(context, bench.plan(widget("a")).plan, PlanOptions(), path)
    found = saved_plan.read_saved_plan_without_verifying_signature(path)
    assert found.require_usable(context, reviewed=False, allow_unsigned=False) == ()
    earlier = context.secrets.compute_mac("", ("plan",), Sensitive(found.signed_text))
    assert earlier not in {None, found.mac}
    signed_before = replace(found, mac=earlier)
    assert signed_before.require_usable(context, reviewed=False, allow_unsigned=False) == ()
