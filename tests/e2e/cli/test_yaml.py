"""Live objects and records as YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from .conftest import SECRETS, Run


@pytest.fixture
def applied(cli: Run) -> Run:
    """The command on a backend with the project's three objects."""
    assert cli("apply", "--auto-approve").returncode == 0
    return cli


def test_objects_have_the_form_of_manifests(applied: Run) -> None:
    """One, and all of a kind, each a document; no secret is in any of them."""
    done = applied("get", "storage", "raw", "-o", "yaml")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == {
        "apiVersion": "synapse-apply/v1",
        "kind": "Storage",
        "metadata": {"id": "1"},
        "spec": {
            "category": "external",
            "name": "raw",
            "provider": "amazon_s3",
            "configuration": {
                "access_key_id": "(sensitive)",
                "bucket_name": "raw",
                "secret_access_key": "(sensitive)",
            },
        },
    }
    assert applied("get", "storages", "--output", "yaml").stdout == done.stdout
    released = applied("get", "release", "yolo@1.0.0", "-o", "yaml", "--expand", "plugin").stdout
    release, plugin = yaml.safe_load_all(released)
    assert (release["kind"], release["spec"]["version"]) == ("Release", "1.0.0")
    assert (plugin["kind"], plugin["metadata"]) == ("Plugin", {"name": "yolo", "id": "1"})
    assert not any(secret in done.stdout + released for secret in SECRETS.values())


def test_another_document_is_that_of_json(applied: Run) -> None:
    """Of `show`, of jobs and of a failure, with null for secrets."""
    shown = applied("show", "storage/raw", "-o", "yaml").stdout
    assert yaml.safe_load(shown) == json.loads(applied("show", "storage/raw", "--json").stdout)
    assert applied("show", "storage/raw", "-o", "json").stdout == (
        applied("show", "storage/raw", "--json").stdout
    )
    assert not any(secret in shown for secret in SECRETS.values())
    assert applied("get", "jobs", "-o", "yaml").stdout == "jobs: []\n"
    failed = applied("get", "storage", "77", "-o", "yaml")
    assert failed.returncode == 1
    assert yaml.safe_load(failed.stdout)["diagnostics"][0]["summary"] == "There is no such storage"


def test_one_form_at_a_time(applied: Run) -> None:
    """Two are a usage error, and so is an unknown one."""
    assert "cannot be combined" in applied("get", "storages", "-o", "yaml", "--json").stderr
    assert applied("get", "storages", "-o", "xml").returncode == 64


def test_text_of_a_server_is_no_command_of_a_runner(cli: Run, project: Path) -> None:
    """Lines of a text of several lines stand in the YAML without their meaning to CI."""
    file = project / "plugins" / "yolo" / "config.yaml"
    text = '"first\\n::error::taken\\n##[error]taken"'
    file.write_text(file.read_text().replace("Detects", text))
    assert cli("apply", "--auto-approve").returncode == 0
    shown = cli("get", "plugin", "1", "-o", "yaml").stdout
    assert "taken" in shown
    assert not re.search(r"^\s*::|##\[", shown, re.MULTILINE)
