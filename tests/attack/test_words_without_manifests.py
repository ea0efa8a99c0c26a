"""A server that quotes secrets to a command that needs no manifests, and so reads none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answering import Asked, answering
from e2e.scenarios.workplace import TOKEN, Workplace, project

SECRETS = {
    "RAW_KEY_ID": "AKIA4XAMPLE77ZZ",
    "RAW_SECRET": "hunter2/Zq+1234567890abcdef",
    "RAW_JSON": '{"private_key": "json-secret-value-99"}',
}
IN_FILE = "file-secret-value-4711"
MANIFEST = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: raw}
spec:
  name: raw
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    access_key_id: {valueFrom: {env: RAW_KEY_ID}}
    secret_access_key:
      valueFrom:
        env: RAW_SECRET
"""
MORE = """\
a: {valueFrom: {env: RAW_JSON, format: json}}
b: {valueFrom: {file: secrets/raw.key}}
c: {valueFrom: {env: RAW_ABSENT}}
d: {valueFrom: {env: FORBIDDEN}}
e: [broken
"""
COMMANDS = [
    ("get", "jobs"), ("get", "jobs", "--json"), ("get", "job", "7"), ("jobs", "logs", "7"),
    ("get", "storage", "id=3"), ("get", "storage", "id=3", "--json"), ("get", "storages"),
    ("run", "yolo"), ("run", "yolo", "--json"), ("get", "plugin", "id=1"),
]  # fmt: skip


def quoting(text: str) -> Any:
    """A backend that puts a text wherever words may stand."""

    def answer(asked: Asked) -> Any:
        job = {"id": 7, "status": "failed", "error": text, "plugin": 1, "result": {"error": text}}
        answers: dict[str, Any] = {
            "/jobs/": {"count": 1, "next": None, "results": [{**job, "version": text}]},
            "/jobs/7/": job,
            "/jobs/7/console_logs/": [text],
            "/storages/": [{"id": 3, "name": text, "provider": "amazon_s3"}],
            "/storages/3/": {"id": 3, "name": text, "provider": "amazon_s3"},
            "/plugins/1/": {"id": 1, "name": text, "code": "yolo", "description": text},
            "/plugins/yolo/run/": {"output": text},
        }
        found = answers.get(asked.path)
        return (404, {"detail": text}) if found is None else (200, found)

    return answer


def place_for(folder: Path, url: str, environ: dict[str, str]) -> Workplace:
    document = json.loads(project(url))
    document["targets"]["prod"]["allow_env"] = ["RAW_*"]
    (folder / "synapse-apply.yaml").write_text(json.dumps(document), encoding="utf-8")
    for name, text in (
        ("manifests/raw.yaml", MANIFEST),
        ("manifests/broken.yaml", MORE),
        ("secrets/raw.key", f"{IN_FILE}\n"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return Workplace(folder, {"PROD_TOKEN": TOKEN, **environ})


@pytest.mark.parametrize(
    "secret", [*list(SECRETS.values())[:2], "json-secret-value-99", IN_FILE, TOKEN]
)
@pytest.mark.parametrize("typed", COMMANDS, ids=" ".join)
def test_secrets_of_manifests_are_masked(
    tmp_path: Path, typed: tuple[str, ...], secret: str
) -> None:
    """Beside a manifest that is broken, and with variables that are absent."""
    with answering(quoting(f"cannot log in with {secret} today")) as at:
        ran = place_for(tmp_path, at.url, SECRETS).run(*typed)
    assert secret not in ran.text
    assert secret[:9] not in ran.text
    assert "(sensitive)" in ran.text


def test_what_no_manifest_may_read_is_no_secret_of_theirs(tmp_path: Path) -> None:
    """A name in a manifest does not make a variable a secret where it is not allowed."""
    with answering(quoting("branch release-candidate-7 here")) as at:
        environ = {**SECRETS, "FORBIDDEN": "release-candidate-7"}
        ran = place_for(tmp_path, at.url, environ).run("get", "job", "7")
    assert "release-candidate-7" in ran.text
