"""Storage providers that the project file describes: keys, secrets, and the warning without."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.manifests.manifests_on_disk import HEAD, load_of, project_of, storage

from synapse_apply.manifests.files import pin_settings
from synapse_apply.manifests.project.project import FILE_NAME, read_project_or_findings

OWN = """\
providers:
  acme_nas:
    description: The NAS in the basement
    keys:
      host: {required: true}
      share: {}
      password: {secret: true, required: true}
"""
SECRET = "{valueFrom: {env: NAS_PASSWORD}}"


def findings_of(folder: Path, configuration: str, project: str = OWN) -> list[tuple[str, str]]:
    loaded = load_of(folder, storage(configuration, "acme_nas"), project)
    return [(one.severity.value, one.summary) for one in loaded.diagnostics]


def test_a_described_provider_is_checked_without_a_warning(tmp_path: Path) -> None:
    assert findings_of(tmp_path, f"{{host: h, share: s, password: {SECRET}}}") == []


@pytest.mark.parametrize(
    ("configuration", "summary", "words"),
    [
        (f"{{hots: h, host: h, password: {SECRET}}}", "Unknown field", "did you mean `host`?"),
        (f"{{password: {SECRET}}}", "Missing field", "add host"),
        ("{host: h, password: plain}", "Secret in plain text", "valueFrom"),
        (f"{{host: {SECRET}, password: {SECRET}}}", "valueFrom is for secret fields", ""),
    ],
)
def test_each_mistake_is_named(
    tmp_path: Path, configuration: str, summary: str, words: str
) -> None:
    loaded = load_of(tmp_path, storage(configuration, "acme_nas"), OWN)
    (finding,) = loaded.diagnostics
    assert words in finding.hint
    assert finding.position is not None
    if words:
        assert finding.summary == summary
    assert "plain" not in finding.detail.replace("plain text", "")


def test_a_provider_whose_variable_has_no_value_is_not_unknown(tmp_path: Path) -> None:
    """The variable is what is missing."""
    loaded = load_of(tmp_path, storage("{a: b}", "${var.missing}"))
    assert [one.summary for one in loaded.diagnostics] == ["Undeclared variable"]


@pytest.mark.parametrize("name", ["amazon_s3", "sftp"])
def test_a_known_provider_is_not_described_anew(tmp_path: Path, name: str) -> None:
    """Or a change could make a secret of it one that is shown."""
    data = f"{HEAD}kind: Project\n{OWN.replace('acme_nas', name)}".encode()
    project, findings = read_project_or_findings(tmp_path / FILE_NAME, FILE_NAME, data)
    assert project is None
    assert [one.summary for one in findings] == ["Provider is known already"]


def test_a_change_cannot_unmark_a_secret_by_itself(tmp_path: Path) -> None:
    """With --project-from the providers of the other revision count, and the change is told."""
    here = project_of(tmp_path, OWN.replace("secret: true, ", ""))
    there = project_of(tmp_path, OWN)
    made = pin_settings(here, there, "main")
    assert made.providers["acme_nas"].secrets == {"password"}
    assert "providers" in made.findings[0].detail


def test_wrong_descriptions_are_refused(tmp_path: Path) -> None:
    for wrong in ("{}", "{keys: {}}", "{keys: {host: {secret: yes please}}}", "{keys: [host]}"):
        data = f"{HEAD}kind: Project\nproviders: {{acme: {wrong}}}\n".encode()
        project, findings = read_project_or_findings(tmp_path / FILE_NAME, FILE_NAME, data)
        assert project is None
        assert findings
