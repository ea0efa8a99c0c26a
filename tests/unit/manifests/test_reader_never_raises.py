"""Whatever a file holds, the answer is documents and findings, never an exception."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synapse_apply.manifests.decode.loading import load_manifests
from synapse_apply.manifests.project.project import build_default_project, read_project_or_findings
from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.model.project import EMBEDDED

EXAMPLES = 2000 if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else 25
MANIFEST = """\
apiVersion: synapse-apply/v1
kind: Release
metadata: {labels: {a: b}}
lifecycle: {ignore_changes: [/config], prevent_destroy: true}
spec:
  plugin: yolo
  version: "1.0.0"
  source: {path: plugins/yolo, ref: v1}
  config: {a: [1, 2.5, null, &x {b: c}], d: *x}
---
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw, id: 7}
spec:
  name: Raw ${var.name}
  provider: amazon_s3
  configuration: {bucket_name: b, secret_access_key: {valueFrom: {env: KEY}}}
"""
PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
variables: {name: {type: string, default: x}, other: {default: "${var.name}"}}
targets:
  prod:
    url: https://api.example.com
    api: {plugin: v1}
    token: {env: TOKEN}
    variables: {name: "a${var.other}"}
    overlays: {"release/*": {spec: {config: {a: null}}}}
"""
PIECES = st.sampled_from(
    [
        *"\t\n\r {}[]:-?&*!|>'\"%@`#,~\x00\x07\x85\u2028\ufeff\ud800é값",
        "---\n", "${var.", "${", "$${", "}", "null", "1.10", "<<: ", "&a ", "*a ", "!!x ", "? ",
        "- ", ": ", "valueFrom: {live: true}", "{}", "[]", "true", "1e999", "9" * 1200,
    ]
)  # fmt: skip
QUIET = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """A good text with a few places cut out, or overwritten with what YAML finds special."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        length = draw(st.integers(0, 30))
        piece = draw(st.one_of(PIECES, st.text(max_size=3)))
        text = text[:start] + piece + text[start + length :]
    return text


@QUIET
@given(st.one_of(st.binary(), st.text(), st.lists(PIECES).map("".join), damaged(MANIFEST)))
@pytest.mark.deep
def test_any_text_is_read(text: bytes | str) -> None:
    """Bytes and texts; what is found has a place."""
    reading = read_documents(text, "f")
    assert all(finding.position and finding.summary for finding in reading.diagnostics)
    assert all(document.positions[()] for document in reading.documents)


@QUIET
@given(damaged(MANIFEST))
@pytest.mark.deep
def test_any_manifest_is_loaded(tmp_path: Path, text: str) -> None:
    """A damaged manifest gives findings; an undamaged part may still be declared."""
    (tmp_path / "a.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    project = build_default_project(tmp_path)
    loaded = load_manifests(project, project.targets[EMBEDDED], paths=[str(tmp_path / "a.yaml")])
    assert loaded.manifests_digest
    assert loaded.has_errors or len(loaded.desired) <= 2


@QUIET
@given(damaged(PROJECT))
@pytest.mark.deep
def test_any_project_file_is_read(tmp_path: Path, text: str) -> None:
    """A project or findings, and never neither."""
    data = text.encode("utf-8", "surrogatepass")
    project, findings = read_project_or_findings(tmp_path / "synapse-apply.yaml", "p.yaml", data)
    assert (project is None) == bool(findings)
    if project is not None:
        for target in project.targets.values():
            load_manifests(project, target)
