"""What is wrong with a manifest is told without the secret that stands in it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import holds
from laws.bench import ANYTHING_GOES, APIS, Project
from laws.effort import effort
from laws.worlds import SECRETS, World, document

from synapse_apply import SynapseApplyError, plan, validate

pytestmark = pytest.mark.deep
CANARIES = st.sampled_from([text for name, text in SECRETS.items() if "JSON" not in name])
WHOLE = {
    "amazon_s3": {"bucket_name": "raw", "secret_access_key": None},
    "sftp": {"host": "h", "username": "law", "password": None},
    "gcp": {"bucket_name": "raw", "credentials": None},
    "azure": {"connection_string": None, "nested": {"account_key": None}},
    "unheard_of": {"token": None},
}


def _filled(value: Any, canary: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(below, canary) for key, below in value.items()}
    return canary if value is None else value


@st.composite
def broken(draw: st.DrawFn) -> World:
    """A storage with its secret in plain, and with something wrong about it or beside it."""
    provider, canary = draw(st.sampled_from(sorted(WHOLE))), draw(CANARIES)
    configuration = copy.deepcopy(_filled(WHOLE[provider], canary))
    spec: dict[str, Any] = {"name": "S", "provider": provider, "configuration": configuration}
    key = draw(st.sampled_from(sorted(configuration)))
    wrong = draw(st.sampled_from(["key", "list", "map", "reference", "place", "text", "none"]))
    if wrong == "key":
        configuration[f"{key}s"] = canary
    elif wrong == "list":
        configuration[key] = [canary, {"valueFrom": {"env": canary}}]
    elif wrong == "map":
        configuration[key] = {"value": canary}
    elif wrong == "reference":
        configuration[key] = {"valueFrom": {"file": "secrets/../../" + "x", "env": "A"}}
        configuration["secret"] = canary
    elif wrong == "place":
        spec["password"] = canary
    elif wrong == "text":
        spec["configuration"] = canary
    return World({"storage/s": document("Storage", "s", spec)})


@pytest.mark.parametrize("api", APIS)
def test_findings_tell_no_secret(project, api):
    """Of validate, of a plan that cannot be made, and of one that can."""

    @effort(few=20, many=500)
    @given(broken())
    def law(world: World) -> None:
        here: Project = project({}, api)
        world.write(here.root)
        holds.of_findings(validate(here.where).diagnostics)
        try:
            with here.opened() as (context, _):
                holds.of_plan(plan(context, ANYTHING_GOES).plan)
        except SynapseApplyError as stopped:
            holds.of_invalid_input(stopped)

    law()
