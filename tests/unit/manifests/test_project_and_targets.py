"""The project file decoded, and which target a command means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.manifests.manifests_on_disk import project_of

from synapse_apply.manifests.project.targets import choose_and_fill_target
from synapse_apply.manifests.schemas import choose_schema_folder
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import SecretRef
from synapse_apply.planning.guards import PLAN_CHECKS
from synapse_apply.planning.policy import CHECKS

WHOLE = """\
manifests: [manifests/]
variables: {bucket: {description: Where}, quality: {type: number, default: 0.8}}
policy: {unreleased_source: refuse}
guards: {min_objects: 5}
default_target: prod
max_package_size: 1000
allow_files: [/etc/all]
targets:
  prod:
    url: https://api.synapse.sh/
    tenant: acme
    api: {plugin: v1}
    token: {env: SYNAPSE_PROD_TOKEN}
    agents: {gpu-1: {env: GPU_TOKEN}, cpu: {env: CPU_TOKEN}}
    state: {url: {env: STATE_URL}, lineage: 5f1c2d60-0000-4000-8000-0123456789ab}
    variables: {bucket: acme-prod}
    manifests: [manifests-prod/]
    allow_env: ["RAW_*"]
    allow_files: [/etc/one]
    on_drift: revert
    settle_after: 2
    guards: {max_share: 0.5}
    policy: {unreleased_source: note}
  staging: {}
"""


ONE = "targets: {prod: {url: 'https://one'}}\n"
TWO = "targets: {prod: {}, dev: {tenant: t}}\n"
HOST = {"SYNAPSE_HOST": "https://env/", "SYNAPSE_ACCESS_TOKEN": "x", "SYNAPSE_TENANT": "e"}


@pytest.mark.parametrize(
    ("text", "name", "environ", "terminal", "chosen"),
    [
        (ONE, None, {}, False, "prod"),
        (ONE, "embedded", {}, False, "embedded"),
        (TWO, "dev", {}, False, "dev"),
        (TWO + "default_target: dev\n", None, {}, False, "dev"),
        ("", None, {}, True, "embedded"),
        ("", "embedded", {}, False, "embedded"),
        ("manifests: [m/]\n", None, {}, True, "embedded"),
        ("", "anything", HOST, False, "anything"),
    ],
)
def test_the_target_that_is_meant(
    tmp_path: Path,
    text: str,
    name: str | None,
    environ: dict[str, str],
    terminal: bool,
    chosen: str,
) -> None:
    """By name, by default, by being the only one, or the embedded one on a terminal."""
    target = choose_and_fill_target(project_of(tmp_path, text), name, environ, terminal)
    assert target.name == chosen


@pytest.mark.parametrize(
    ("text", "name", "environ", "terminal", "hint"),
    [
        (TWO, None, {}, True, "--target NAME"),
        (TWO, "prd", {}, True, "did you mean `prod`?"),
        ("", None, {}, False, "--target embedded"),
        ("", None, HOST, True, "--target embedded"),
        ("", None, {"SYNAPSE_ACCESS_TOKEN": "x"}, True, "--target embedded"),
        ("", "prod", {}, True, "known: embedded"),
        ("", "../up", HOST, True, "known: embedded"),
        (ONE, "other", HOST, True, "known: embedded, prod"),
    ],
)
def test_a_target_that_cannot_be_told(
    tmp_path: Path,
    text: str,
    name: str | None,
    environ: dict[str, str],
    terminal: bool,
    hint: str,
) -> None:
    """Never a guess: the message says what to say."""
    with pytest.raises(InputError) as caught:
        choose_and_fill_target(project_of(tmp_path, text), name, environ, terminal)
    assert hint in caught.value.diagnostics[0].hint


def test_the_environment_fills_only_holes(tmp_path: Path) -> None:
    """What the project file says is final; the embedded target takes nothing."""
    text = WHOLE + "  bare: {}\n"
    project = project_of(tmp_path, text)
    prod = choose_and_fill_target(project, "prod", HOST, False)
    bare = choose_and_fill_target(project, "bare", HOST, False)
    embedded = choose_and_fill_target(project, "embedded", HOST, False)
    assert (prod.url, prod.tenant) == ("https://api.synapse.sh", "acme")
    assert prod.token == SecretRef("env", "SYNAPSE_PROD_TOKEN")
    assert (bare.url, bare.tenant) == ("https://env", "e")
    assert bare.token == SecretRef("env", "SYNAPSE_ACCESS_TOKEN")
    assert (embedded.url, embedded.tenant, embedded.token) == ("", "", None)


@pytest.mark.parametrize(
    "url", ["https://user:hunter2@api.example", "api.synapse.sh", "ftp://api.example", "https://"]
)
def test_a_host_of_the_environment_that_is_no_url(tmp_path: Path, url: str) -> None:
    """Refused before anything is recorded under it, and never repeated: it may hold a password."""
    with pytest.raises(InputError, match="SYNAPSE_HOST cannot be used") as caught:
        choose_and_fill_target(project_of(tmp_path, ""), "any", {"SYNAPSE_HOST": url}, False)
    assert "hunter2" not in str(caught.value.diagnostics)


def test_every_built_in_rule_is_one_of_the_schema() -> None:
    """What the schema lets pass is what planning knows."""
    schema = json.loads((choose_schema_folder() / "policy.schema.json").read_text("utf-8"))
    known = schema["properties"]["rules"]["items"]["properties"]["rule"]["enum"]
    assert sorted(known) == sorted((*CHECKS, *PLAN_CHECKS))
