"""Targets that a template and a list make: what they are, and what is read and made for them."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.manifests.manifests_on_disk import HEAD, project_of

from synapse_apply.manifests.files import pin_settings
from synapse_apply.manifests.project import target_lists
from synapse_apply.manifests.project.project import FILE_NAME, read_project_or_findings
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.project import Project
from synapse_apply.model.values import SecretRef

PROJECT = """\
variables: {bucket: {}, size: {type: integer}, region: {default: eu}}
targets:
  prod: {url: "https://prod.example", labels: {tier: gold}}
targets_from:
  file: tenants.yaml
  name: t-${row.name}
  defaults: {tier: standard, size: 3, is_new: false}
  template:
    url: https://api.example/${row.name}-${row.size}-${row.is_new}
    token: {env: "TOKEN_${row.token}"}
    labels: {tier: "${row.tier}", kind: "$${plain}"}
    variables: {bucket: "$${row.name}-${var.region}-${row.name}", size: "${row.size}"}
    on_drift: hold
"""
ROWS = """\
- {name: acme, token: A}
- name: beta
  token: B
  tier: gold
  size: 5
"""


def read(folder: Path, text: str = PROJECT, rows: str = ROWS) -> Project:
    (folder / "tenants.yaml").write_text(rows, encoding="utf-8")
    return project_of(folder, text)


def read_findings(folder: Path, text: str) -> list[str]:
    data = f"{HEAD}kind: Project\n{text}".encode()
    project, findings = read_project_or_findings(folder / FILE_NAME, FILE_NAME, data)
    assert project is None
    return [format_finding(finding) for finding in findings]


def format_finding(finding: Diagnostic) -> str:
    return f"{finding.position} {finding.summary}: {finding.detail}"


def test_every_row_closes_its_token_to_manifests(tmp_path: Path) -> None:
    """What any row names for its credentials no manifest of another target may read."""
    assert read(tmp_path).reserved.variables == {
        "TOKEN_A": "targets.t-acme.token",
        "TOKEN_B": "targets.t-beta.token",
    }


def test_one_list_may_be_for_several_templates(tmp_path: Path) -> None:
    """A key counts as known where any of them names it; JSON is a list, too."""
    text = """\
targets_from:
  - {file: tenants.yaml, name: "${row.name}-blue", template: {tenant: "${row.code}"}}
  - {file: ./tenants.yaml, name: "${row.name}-green", template: {url: "https://${row.host}"}}
"""
    rows = '[{"name": "acme", "code": "A", "host": "a.example"}]'
    targets = read(tmp_path, text, rows).targets
    assert targets["acme-blue"].tenant == "A"
    assert targets["acme-green"].url == "https://a.example"
    assert list(read(tmp_path, text, "[]").targets) == ["embedded"]


def test_a_list_by_a_link_out_of_the_project_is_not_read(tmp_path: Path) -> None:
    """Findings quote what they are about: a link to a file of the machine would show it."""
    (tmp_path / "secret.txt").write_text("canary", encoding="utf-8")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "tenants.yaml").symlink_to(tmp_path / "secret.txt")
    (finding,) = read_findings(folder, "targets_from: {file: tenants.yaml, template: {}}\n")
    assert "it is a link to" in finding
    assert "canary" not in finding


def test_a_large_list_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synapse_apply.manifests.project.project.MAX_LIST_BYTES", len(ROWS) - 1)
    (tmp_path / "tenants.yaml").write_text(ROWS, encoding="utf-8")
    (finding,) = read_findings(tmp_path, "targets_from: {file: tenants.yaml, template: {}}\n")
    assert "it is larger than" in finding


def test_rows_that_stand_for_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text in the template times many rows is an error before memory is short."""
    monkeypatch.setattr(target_lists, "_MAX_TOTAL_COST", 100_000)
    (tmp_path / "tenants.yaml").write_text(
        "".join(f"- {{name: x{n}}}\n" for n in range(1000)), encoding="utf-8"
    )
    text = (
        f"targets_from: {{file: tenants.yaml, template: {{tenant: '{'y' * 500}${{row.name}}'}}}}\n"
    )
    (finding,) = read_findings(tmp_path, text)
    assert f"{FILE_NAME}:3:1 The rows expand to too much" in finding


@pytest.mark.parametrize("mistake", ["kode: y", "code: [y]"])
def test_a_mistake_in_every_row_is_told_of_a_hundred(tmp_path: Path, mistake: str) -> None:
    """And how many more there are."""
    (tmp_path / "tenants.yaml").write_text(
        "".join(f"- {{name: x{n}, {mistake}}}\n" for n in range(250)), encoding="utf-8"
    )
    text = 'targets_from: {file: tenants.yaml, defaults: {code: y}, template: {tenant: "${row.code}"}}\n'
    findings = read_findings(tmp_path, text)
    assert len(findings) == 101
    assert any("150 more are not shown" in finding for finding in findings)


def test_a_misfit_of_every_target_is_told_of_a_hundred(tmp_path: Path) -> None:
    (tmp_path / "tenants.yaml").write_text(
        "".join(f"- {{name: x{n}}}\n" for n in range(250)), encoding="utf-8"
    )
    text = 'targets_from: {file: tenants.yaml, template: {on_drift: "${row.name}"}}\n'
    findings = read_findings(tmp_path, text)
    assert len(findings) == 101
    assert "tenants.yaml:2:4 Unknown value: `targets.x1.on_drift`" in findings[1]


def test_every_mistake_of_a_row_is_told(tmp_path: Path) -> None:
    (tmp_path / "tenants.yaml").write_text("- {name: a, tirr: gold, code: 42}\n", encoding="utf-8")
    text = 'targets_from: {file: tenants.yaml, template: {tenant: "${row.code}"}}\n'
    findings = "\n".join(read_findings(tmp_path, text))
    assert "tenants.yaml:1:13 Unknown key" in findings
    assert "tenants.yaml:1:25 Wrong type: `targets.a.tenant`" in findings


def test_a_pinned_list_gives_the_settings(tmp_path: Path) -> None:
    """A row that a change alters or adds has no say over url and token; variables are its own."""
    changed_rows = ROWS.replace("token: B", "token: EVIL").replace("size: 5", "size: 7")
    own = read(tmp_path, rows=changed_rows + "- {name: new, token: N}\n")
    own_rows = own.targets["t-beta"].row
    ruling = read(tmp_path)
    project = pin_settings(own, ruling, "main")
    assert list(project.targets) == ["prod", "t-acme", "t-beta", "embedded"]
    assert project.targets["t-beta"].token == SecretRef("env", "TOKEN_B")
    assert project.targets["t-beta"].url == "https://api.example/beta-5-false"
    assert project.targets["t-beta"].variables["size"] == 7
    assert project.targets["t-beta"].row == own_rows
    (warning,) = project.findings
    assert warning.detail.startswith("targets.t-beta.url, targets.t-beta.token, targets.t-new: ")
    assert project.reserved.variables.keys() == {"TOKEN_A", "TOKEN_B", "TOKEN_EVIL", "TOKEN_N"}
