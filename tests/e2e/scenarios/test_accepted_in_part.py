"""Drift of which a part is taken over: the file would say what neither side does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from e2e.scenarios.test_accepted_shapes import drifted, files, site
from e2e.scenarios.workplace import QUIET, Server, Workplace

from synapse_apply import Invocation, open_context, plan
from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError
from synapse_apply.operations.drift import build_options_that_revert_drift, compute_drift
from synapse_apply.operations.write_drift import write_live_values

__all__ = ["site"]


def test_what_a_plan_would_still_change_is_refused(site: Workplace, server: Server) -> None:
    """Not all that drifted was to be taken over: the file would say what neither side does."""
    drifted(site, server, {"a": {"b": 1}, "n": 1}, {"a": "PRECIOUS", "n": 2})
    before, address = files(site), Address("plugin", "p1")
    where = Invocation(directory=site.root, target="prod", environ={**QUIET, **site.environ})
    with open_context(where, read_only=True) as context:
        planned = plan(context, build_options_that_revert_drift(None))
        found = compute_drift(context, planned)
        (one,) = found.objects
        some = replace(found, objects=(replace(one, fields=one.fields[:1]),))
        with pytest.raises(InputError) as raised:
            write_live_values(where, context, planned, some, [address], write=True)
    (finding,) = raised.value.diagnostics
    assert finding.summary == "This drift cannot be written"
    still = "With the live values in the files, a plan would still change spec.configuration.n."
    assert finding.detail == still
    assert finding.hint == "Edit the manifest manually. No file was written."
    assert finding.position is not None
    assert files(site) == before
