"""Secrets in files that sops has encrypted: planned, sent and compared, and never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sops
from e2e.revisions.conftest import repository
from e2e.scenarios.canaries import forms
from e2e.scenarios.workplace import TOKEN, Ran, Workplace, project

CANARY = 'cAn4ry-sops/+ "quoted"\\é-5555'
OTHER = "cAn4ry-sops-6666-changed"
STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw}
spec:
  name: raw
  category: external
  provider: amazon_s3
  configuration:
    bucket_name: b
    region: r
    access_key_id: {valueFrom: {sops: {file: secrets/prod.yaml, key: raw/id}}}
    secret_access_key: {valueFrom: {sops: {file: secrets/prod.yaml, key: raw/keys/0}}}
"""
AGE = {"age": {"env": "AGE_KEY"}}


def encrypted(secret: str, *options: str, **more: Any) -> str:
    return sops.encrypt(
        json.dumps({"raw": {"id": "AKIA-made-up", "keys": [secret]}}), *options, **more
    )


@pytest.fixture
def furnished(serve: Any, tmp_path: Path) -> Workplace:
    """One storage with two values of one file, on a backend."""
    environ = {
        "PROD_TOKEN": TOKEN,
        "AGE_KEY": sops.KEY,
        "PATH": sops.install(tmp_path / "bin"),
        "SYNAPSE_APPLY_LOG": "trace",
    }
    place = Workplace(tmp_path / "project", environ)
    place.write("synapse-apply.yaml", project(serve().url, settle_after=0.2, sops=AGE))
    place.write("secrets/prod.yaml", encrypted(CANARY))
    place.write("manifests/raw.yaml", STORAGE)
    return place


def require_clean(place: Workplace, *ran: Ran) -> None:
    """No value and no key is in what was printed or written."""
    outputs = [one.text.encode() for one in ran]
    outputs += [path.read_bytes() for path in place.root.rglob("*") if path.is_file()]
    for secret in (CANARY, OTHER, sops.KEY):
        assert not [form for form in forms(secret) for text in outputs if form in text]


def test_a_whole_life_of_a_secret(furnished: Workplace) -> None:
    """Created, compared, changed in the file, sent again, rekeyed: no byte of ours shows one."""
    place = furnished
    ran = [
        place.run("validate", "--strict", code=0),
        place.run("state", "init", code=0),
        place.plan("--json", code=0),
        place.plan("--out", "first.plan", code=0),
        place.apply("--json"),
    ]
    place.unchanged()
    place.write("secrets/prod.yaml", encrypted(OTHER))
    ran += [place.plan(code=0), place.plan("--json", code=0), place.apply(code=5)]
    assert "configuration.secret_access_key" in ran[-1].out
    assert "(sensitive, changed)" in ran[-1].out
    place.write("secrets/prod.yaml", encrypted(CANARY))
    place.unchanged()
    ran += [
        place.run("show", "storage/raw"),
        place.run("show", "storage/raw", "--json"),
        place.run("drift", code=0),
        place.run("doctor"),
        place.run("state", "rekey", code=0),
        place.run("state", "show", "storage/raw", code=0),
        place.plan("--report", "html=plan.html", "--report", "markdown=plan.md", code=0),
    ]
    assert "AKIA-made-up" not in "".join(one.text for one in ran)
    require_clean(place, *ran)


def test_without_a_key_a_plan_says_so_and_an_apply_sends_nothing(furnished: Workplace) -> None:
    """As for a variable that is not set."""
    place = furnished
    place.run("state", "init", code=0)
    del place.environ["AGE_KEY"]
    ran = place.plan(code=0)
    assert (
        "(sensitive, not checked: AGE_KEY is not set, but needed to decrypt secrets/prod.yaml"
        in ran.out
    )
    stopped = place.apply(code=1)
    assert "AGE_KEY is not set" in stopped.err
    assert "manifests/raw.yaml:1" in stopped.err
    place.environ |= {"AGE_KEY": sops.KEY, "PATH": "/usr/bin:/bin"}
    assert "the program sops is not on PATH" in place.apply(code=1).err
    require_clean(place, ran, stopped)


def test_validate_needs_neither_key_nor_program(furnished: Workplace) -> None:
    """What the file says of itself is checked, at the line of the manifest."""
    place = furnished
    place.environ = {"PATH": "/usr/bin:/bin"}
    place.run("validate", "--strict", code=0)
    place.edit("manifests/raw.yaml", "raw/keys/0", "raw/keys/1")
    place.edit(
        "manifests/raw.yaml", "secrets/prod.yaml, key: raw/id", "secrets/none.yaml, key: raw/id"
    )
    ran = place.run("validate", code=1)
    assert "secrets/prod.yaml has no raw/keys/1" in ran.text
    assert "the file secrets/none.yaml does not exist" in ran.text
    assert "manifests/raw.yaml:12:" in ran.text
    place.edit("manifests/raw.yaml", "secrets/none.yaml, key: raw/id", "../other.yaml, key: raw/id")
    assert "it is outside the project" in place.run("validate", code=1).text


def test_a_target_that_sets_up_no_sops_reads_none(furnished: Workplace) -> None:
    """Nor does a manifest read what opens its files."""
    place = furnished
    place.edit(
        "manifests/raw.yaml", "{sops: {file: secrets/prod.yaml, key: raw/id}}", "{env: AGE_KEY}"
    )
    ran = place.run("validate", code=1)
    assert "valueFrom may not read AGE_KEY: targets.prod.sops.age names it" in ran.text
    document = json.loads((place.root / "synapse-apply.yaml").read_text())
    del document["targets"]["prod"]["sops"]
    place.write("synapse-apply.yaml", json.dumps(document))
    ran = place.run("validate", code=1)
    assert "valueFrom sops needs targets.prod.sops, which lists the keys" in ran.text


def test_doctor_says_which_key_is_used(furnished: Workplace) -> None:
    """With the program and its version."""
    ran = furnished.run("doctor")
    assert "age from AGE_KEY, by sops 3." in ran.out
    del furnished.environ["AGE_KEY"]
    assert "Secrets of sops cannot be read here" in furnished.run("doctor").out


def test_another_revision_has_its_own_file(furnished: Workplace) -> None:
    """`--ref`: the value that was committed with the manifests, whatever the checkout has now."""
    place = furnished
    repo = repository(place)
    place.run("state", "init", code=0)
    place.apply()
    place.write("secrets/prod.yaml", encrypted(OTHER))
    assert "(sensitive, changed)" in place.plan(code=0).out
    assert "No changes." in place.plan("--ref", "main", code=0).out
    (place.root / "secrets" / "prod.yaml").unlink()
    assert "No changes." in place.plan("--ref", "main", code=0).out
    repo.commit("removed")
    ran = place.plan("--ref", "change", code=1)
    assert "secrets/prod.yaml is not a file at change" in ran.text
    offline = place.plan("--offline", "--against", "git:main", code=1)
    assert "the file secrets/prod.yaml does not exist" in offline.text


def test_a_change_cannot_widen_its_own_list(furnished: Workplace) -> None:
    """`--project-from`: a server that only the change lists is not asked."""
    place = furnished
    repo = repository(place)
    key = {"keys": ["http://127.0.0.1:9/v1/sops/keys/k"], "token": {"env": "PROD_TOKEN"}}
    document = json.loads((place.root / "synapse-apply.yaml").read_text())
    document["targets"]["prod"]["sops"] = {**AGE, "hc_vault": key}
    place.write("synapse-apply.yaml", json.dumps(document))
    text = (place.root / "secrets" / "prod.yaml").read_text()
    entry = (
        "    hc_vault:\n        - vault_address: http://127.0.0.1:9\n          engine_path: sops\n"
        '          key_name: k\n          created_at: "2026-01-01T00:00:00Z"\n          enc: vault:v1:a\n'
    )
    assert "\nsops:\n" in text
    place.write("secrets/prod.yaml", text.replace("\nsops:\n", f"\nsops:\n{entry}"))
    repo.commit("widened")
    place.run("validate", code=0)
    for command in ("validate", "plan"):
        ran = place.run(command, "--project-from", "git:main", code=1)
        assert "hc_vault http://127.0.0.1:9/v1/sops/keys/k" in ran.text
        assert "targets.prod.sops: the plan uses the settings of main" in ran.text
