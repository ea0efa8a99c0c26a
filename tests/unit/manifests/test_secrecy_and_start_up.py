"""A secret in plain text is in no message, and reading starts without what only errors need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from unit.manifests.manifests_on_disk import load_of, storage

from synapse_apply.model.values import SecretRef, Sensitive, flatten

CANARY = "canary-5eb63bbbe01e"
PLACES = [
    ("amazon_s3", f"{{bucket_name: b, secret_access_key: {CANARY}}}"),
    ("amazon_s3", f"{{bucket_name: b, secret_access_key: '{CANARY} ${{x}}'}}"),
    ("amazon_s3", f"{{bucket_name: b, secret_access_key: '${{var.{CANARY}}}'}}"),
    ("amazon_s3", f"{{bucket_name: b, secret_access_key: ['{CANARY}']}}"),
    ("amazon_s3", f"{{bucket_name: b, secret_access_key: {{value: {CANARY}}}}}"),
    ("amazon_s3", f"{{bucket_name: b, secret_access_key: {{valueFrom: {CANARY}}}}}"),
    ("amazon_s3", f"{{bucket_name: b, secret_access_key: {{valueFrom: {{env: '{CANARY} !'}}}}}}"),
    ("amazon_s3", f"{{bucket_name: b, access_key: {{valueFrom: {{env: A, format: {CANARY}}}}}}}"),
    ("amazon_s3", f"{{bucket_name: b, region: r, secret_key: {CANARY}}}"),
    ("gcp", f"{{bucket_name: b, credentials: {{private_key: {CANARY}, id: [{CANARY}]}}}}"),
    ("gcp", f"{{bucket_name: b, credentials: {CANARY}}}"),
    ("azure", f"{{account: a, deep: {{key: {CANARY}}}, list: [{CANARY}, {{a: {CANARY}}}]}}"),
    ("http", f"{{headers: {{Authorization: {CANARY}}}}}"),
    ("azure", CANARY),
    ("amazon_s3", CANARY),
]


@pytest.mark.parametrize(("provider", "configuration"), PLACES)
@pytest.mark.parametrize("strict", [False, True])
def test_a_literal_is_never_told(
    tmp_path: Path, provider: str, configuration: str, strict: bool
) -> None:
    """Not in findings, not in what is declared, not in any repr, right or wrong as it stands."""
    loaded = load_of(tmp_path, storage(configuration, provider), strict=strict)
    assert loaded.diagnostics
    assert CANARY not in repr(loaded)
    assert CANARY not in repr([finding.to_json() for finding in loaded.diagnostics])


def test_a_literal_in_an_overlay_is_never_told(tmp_path: Path) -> None:
    """The project file may hold it as well."""
    overlay = f"{{spec: {{configuration: {{secret_access_key: {CANARY}}}}}}}"
    project = f"targets: {{prod: {{overlays: {{storage/raw: {overlay}}}}}}}\n"
    loaded = load_of(tmp_path, storage("{bucket_name: b}"), project, "prod")
    assert [finding.summary for finding in loaded.diagnostics] == ["Secret in plain text"]
    assert str(loaded.diagnostics[0].position).startswith("synapse-apply.yaml:")
    assert CANARY not in repr(loaded)


def test_a_literal_is_wrapped(tmp_path: Path) -> None:
    """Every leaf of it, as one Sensitive: apply can send it, nobody can print it."""
    text = storage("{account: a, n: 1, empty: {}, deep: {on: true}}", "ftp")
    (one,) = load_of(tmp_path, text).desired.values()
    found = flatten(one.spec["configuration"])
    assert found == {
        ("account",): SecretRef("literal", literal=Sensitive("a")),
        ("n",): SecretRef("literal", literal=Sensitive(1)),
        ("empty",): SecretRef("literal", literal=Sensitive({})),
        ("deep", "on"): SecretRef("literal", literal=Sensitive(True)),
    }


def test_good_manifests_never_load_the_explanations(tmp_path: Path) -> None:
    """jsonschema costs a tenth of a second; only what is refused pays it."""
    (tmp_path / "a.yaml").write_text(storage("{bucket_name: b}"))
    program = (
        "import sys, pathlib\n"
        "from synapse_apply.manifests.decode.loading import load_manifests\n"
        "from synapse_apply.manifests.project.project import build_default_project\n"
        "project = build_default_project(pathlib.Path.cwd())\n"
        "loaded = load_manifests(project, project.targets['embedded'])\n"
        "assert len(loaded.desired) == 1, loaded\n"
        "assert 'jsonschema' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
