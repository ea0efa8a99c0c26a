"""Credentials as the vendor's tools keep them: which source wins, and where a token never goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from e2e.doctor.conftest import STORAGE, TOKEN, Findings
from e2e.scenarios.canaries import forms
from e2e.scenarios.workplace import Ran, Workplace

from synapse_apply import EmbeddedServer

PLACE = "~/.synapse/config.json"


class Laptop(Workplace):
    """A project whose target `prod` has holes, on a machine with a home of its own."""

    def project(self, **target: Any) -> None:
        text = {"apiVersion": "synapse-apply/v1", "kind": "Project", "targets": {"prod": target}}
        self.write("synapse-apply.yaml", json.dumps(text))

    def login(self, **keys: Any) -> None:
        """Log in with the vendor's tools."""
        self.write("../home/.synapse/config.json", json.dumps(keys)).chmod(0o600)

    def run(self, *typed: str, code: int | None = None) -> Ran:
        ran = super().run(*typed, code=code)
        assert not [form for form in forms(TOKEN) if form.decode() in ran.text]
        return ran

    def look(self, code: int = 0) -> Findings:
        return Findings(self.run("doctor", "--json", code=code).document["checks"])


@pytest.fixture
def laptop(tmp_path: Path) -> Laptop:
    made = Laptop(tmp_path / "project", {"HOME": str(tmp_path / "home"), "RAW_KEY": "k3y"})
    made.write("manifests/raw.yaml", STORAGE)
    made.project()
    return made


def test_a_login_is_all_that_is_needed(laptop: Laptop, server: EmbeddedServer) -> None:
    """Url, token and tenant of it, and `doctor` says so."""
    laptop.login(host=server.url, access_token=TOKEN, tenant="acme")
    laptop.run("state", "init", code=0)
    laptop.apply()
    laptop.unchanged()
    found = laptop.look()
    assert f"{server.url} (from {PLACE})" in found.text("url")
    assert f"from {PLACE} (a login with the vendor's tools)" in found.text("token")
    assert f"acme (from {PLACE})" in found.text("tenant")
    assert "and accepts the token" in found.text("backend")


def test_the_project_file_is_final_and_the_environment_goes_before_a_login(
    laptop: Laptop, server: EmbeddedServer
) -> None:
    """Each source that is passed over is named with the one that won."""
    laptop.login(host="https://api.synapse.example", access_token="another-token", tenant="other")
    laptop.environ |= {"SYNAPSE_HOST": server.url, "SYNAPSE_ACCESS_TOKEN": TOKEN}
    laptop.run("state", "init", code=0)
    found = laptop.look()
    assert f"{server.url} (from SYNAPSE_HOST)" in found.text("url")
    assert "from SYNAPSE_ACCESS_TOKEN " in found.text("token")
    assert "none named: the token's tenant is used" in found.text("tenant")
    laptop.project(url=server.url, tenant="acme", token={"env": "OWN"})
    laptop.environ |= {"OWN": TOKEN, "SYNAPSE_HOST": "https://elsewhere.example"}
    found = laptop.look(code=1)
    assert found.wrong == ["binding"]  # it was made for another tenant
    assert "SYNAPSE_HOST has another value and is not used" in found.text("url")
    assert "OWN (token of the target; SYNAPSE_ACCESS_TOKEN is also set" in found.text("token")


def test_a_token_goes_to_no_other_host(
    laptop: Laptop, server: EmbeddedServer, tmp_path: Path
) -> None:
    """Neither that of a login nor that of the environment; the requests that arrive have none."""
    laptop.login(host=server.url, access_token=TOKEN)
    with EmbeddedServer(tmp_path / "other", token="for-others") as other:
        laptop.project(url=other.url)
        laptop.environ["SYNAPSE_HOST"] = server.url
        for variable in ({}, {"SYNAPSE_ACCESS_TOKEN": TOKEN}):
            laptop.environ |= variable
            found = laptop.look(code=1)
            assert f"{PLACE} has a token for {server.url}" in found.text("token")
            assert "backend" in found.wrong
        assert "SYNAPSE_ACCESS_TOKEN is not used: it belongs to SYNAPSE_HOST" in found.text("token")
    laptop.project(url="https://backend.invalid")
    said = laptop.look(code=1)
    assert said.status("backend") == ["not_checked"]
    assert "No token is set for https://backend.invalid: " in said.text("token")


def test_what_is_missing_is_told_with_all_that_was_looked_at(laptop: Laptop) -> None:
    """Every source by name, and what to do."""
    said = laptop.run("state", "init", code=1).err
    for source in ("url of the target", "SYNAPSE_HOST", "config.json is not there"):
        assert source in said
    laptop.write("../home/.synapse/config.json", "{")
    said = laptop.run("get", "plugin", "id=1", code=1).err
    assert f"{PLACE} cannot be used: it is not a JSON object (line 1, column 2)" in said
    assert "Set targets.NAME.url in the project file, or SYNAPSE_HOST" in said
    laptop.login(host="https://backend.invalid", user_token="any")
    said = laptop.run("get", "plugin", "id=1", code=1).err
    assert f"{PLACE} has no access_token, only a user_token" in said


def test_a_login_that_others_can_read_is_a_warning(laptop: Laptop, server: EmbeddedServer) -> None:
    """It is used all the same."""
    laptop.login(host=server.url, access_token=TOKEN)
    (laptop.root / "../home/.synapse/config.json").chmod(0o644)
    laptop.run("state", "init", code=0)
    found = laptop.look()
    assert found.odd == ["token"]
    assert f"`chmod 600 {PLACE}`" in found.text("token")


def test_without_a_project_file(laptop: Laptop, server: EmbeddedServer) -> None:
    """A login describes a backend, whose name is what was typed; it is never assumed."""
    (laptop.root / "synapse-apply.yaml").unlink()
    laptop.login(host=server.url, access_token=TOKEN)
    laptop.run("state", "init", "-t", "work", code=0)
    assert "Resources: 1 added" in laptop.apply("-t", "work").out
    assert "pass --target embedded" in laptop.plan(code=1).err
    (laptop.root / "../home/.synapse/config.json").unlink()
    assert "there is no target `work`" in laptop.plan("-t", "work", code=1).err
