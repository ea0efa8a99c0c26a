"""A secret in a package's config.yaml: findings of manifests, too, show no value of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from synapse_apply import Invocation, SynapseApplyError, validate

SECRET = "ghp_" + "a1B2c3D4e5F6" * 3
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec: {name: Yolo, code: yolo, category: neural_net}
---
apiVersion: synapse-apply/v1
kind: Release
"""
CONFIG = "name: Yolo\ncode: yolo\ncategory: neural_net\ndata_type: image\n"
PROJECT = """\
apiVersion: synapse-apply/v1
kind: Project
targets: {prod: {url: "https://api.synapse.example"}}
"""


def all_findings(folder: Path, manifest: str, config: str | None) -> list[str]:
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "plugins" / "yolo").mkdir(parents=True, exist_ok=True)
    (folder / "synapse-apply.yaml").write_text(PROJECT)
    (folder / "manifests" / "a.yaml").write_text(manifest)
    (folder / "plugins" / "yolo" / "main.py").write_text("print()\n")
    if config is not None:
        (folder / "plugins" / "yolo" / "config.yaml").write_text(config)
    try:
        found = validate(Invocation(directory=folder)).diagnostics
    except SynapseApplyError as problem:
        found = problem.diagnostics
    return [f"{one.severity.value} {one.summary}: {one.detail} {one.hint}" for one in found]


@pytest.mark.parametrize(
    ("spec", "config"),
    [
        ("{plugin: yolo, source: ./plugins/yolo}", f"{CONFIG}version: {SECRET}\n"),
        ("{plugin: yolo, source: ./plugins/yolo}", f"{CONFIG}version: [{SECRET}]\n"),
        ("{plugin: yolo, source: ./plugins/yolo}", f"{CONFIG}version: {{a: {SECRET}}}\n"),
        ("{plugin: yolo, version: 1.0.0, source: ./plugins/yolo}",
         f"{CONFIG}version: {SECRET}\n"),
        ("{plugin: yolo, version: 1.0.0, source: ./plugins/yolo}",
         f"name: Yolo\ncode: {SECRET}\nversion: 1.0.0\n"),
        ("{plugin: yolo, version: 1.0.0, source: ./plugins/yolo}",
         f"{CONFIG}version: 1.0.0\nenv: *{SECRET}\n"),
        ("{plugin: yolo, version: 1.0.0, source: ./plugins/yolo}",
         f"{CONFIG}version: 1.0.0\n{SECRET}: 1\n{SECRET}: 2\n"),
        ("{plugin: yolo, version: 1.0.0, source: ./plugins/yolo, verify: {params: {}}}",
         (f"{CONFIG}version: 1.0.0\nactions:\n  a: {{entrypoint: main.a}}\n"
         f"  {SECRET}: {{entrypoint: main.b}}\n")),
    ],
)  # fmt: skip
def test_a_secret_of_a_package_is_in_no_finding(tmp_path, monkeypatch, spec, config):
    monkeypatch.chdir(tmp_path)
    found = all_findings(tmp_path, f"{PLUGIN}spec: {spec}\n", config)
    assert any(one.startswith("error") for one in found)
    assert SECRET[:12] not in "\n".join(found)


@pytest.mark.parametrize("field", ["name", "code", "category"])
def test_a_plugin_that_disagrees_with_its_package(tmp_path, monkeypatch, field):
    monkeypatch.chdir(tmp_path)
    manifest = PLUGIN.partition("---")[0].replace(
        "{name: Yolo", "{from: ./plugins/yolo, name: Yolo"
    )
    config = CONFIG.replace(f"{field}: ", f"{field}: {SECRET} #")
    found = all_findings(tmp_path, manifest, config)
    assert any("disagree" in one for one in found)
    assert SECRET[:12] not in "\n".join(found)


@pytest.mark.parametrize("version", ["", "version: 1.0.0, "], ids=["taken", "declared"])
def test_an_unquoted_version_is_said_once(tmp_path, monkeypatch, version):
    monkeypatch.chdir(tmp_path)
    spec = f"spec: {{plugin: yolo, {version}source: ./plugins/yolo}}\n"
    found = all_findings(tmp_path, PLUGIN + spec, f"{CONFIG}version: 1.1\n")
    errors = [one for one in found if "version" in one.lower()]
    assert len(errors) == 1, errors
    assert ("quote the value there" if version else "quote it") in errors[0]


def test_a_plugin_from_a_folder_without_config_is_said_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = PLUGIN.partition("---")[0].replace(
        "{name: Yolo", "{from: ./plugins/yolo, name: Yolo"
    )
    found = all_findings(tmp_path, manifest, None)
    assert sum("without config.yaml" in one for one in found) == 1, found
