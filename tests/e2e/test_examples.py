"""Every folder of examples/ does what it says, from an untouched copy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import forking
import pytest
from in_process import run
from installed import ROOT, copied, environment, variables

from synapse_apply import EmbeddedServer

EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
PIN = "3d2c6f0e-5b1f-4c9a-9d57-0a6f6f2d8c11"
EMPTY = "No changes. Live state matches the configuration.\n"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_applies_once(example: Path, tmp_path: Path) -> None:
    """Validate, apply to the embedded backend, and an empty plan; no file of the user's is touched."""
    folder = copied(example, tmp_path)
    before = _files(folder)
    given = variables(folder / "example.env")
    assert run("validate --strict", folder, {}).stdout.startswith("Valid: ")
    applied = run("apply -t embedded --auto-approve", folder, given)
    assert "Apply complete! Resources: " in applied.stdout
    assert run("plan -t embedded --detailed-exitcode", folder, given).stdout == EMPTY
    assert _files(folder) == before
    assert (folder / ".synapse-apply" / ".gitignore").read_text() == "*\n"


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".synapse-apply" not in path.parts
    }


def test_the_demo_script_prints_both_runs(tmp_path: Path) -> None:
    """demo.sh shows the plan, the report and then an empty plan, and leaves nothing behind."""
    folder = copied(ROOT / "examples" / "quickstart", tmp_path)
    done = subprocess.run(
        ["bash", "demo.sh"],
        cwd=folder,
        env=environment({"BIN": str(forking.programs())}),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Plan: 4 to add, 0 to change, 0 to destroy.\n" in done.stdout
    assert "Apply complete! Resources: 4 added, 0 changed, 0 destroyed.\n" in done.stdout
    assert done.stdout.endswith(EMPTY)
    assert not (folder / ".synapse-apply").exists()


@dataclass(frozen=True)
class GitOps:
    """The gitops example with a backend for each of its targets."""

    folder: Path
    given: dict[str, str]

    def start(self, *targets: str) -> None:
        """Make the state of each target and apply to it."""
        for target in targets:
            pin = f" --lineage {PIN}" if target == "prod" else ""
            self.run(f"state init -t {target}{pin}")
            self.run(f"apply -t {target} --auto-approve")

    def run(self, arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        return run(arguments, self.folder, self.given, code)


@pytest.fixture
def gitops(tmp_path: Path) -> Iterator[GitOps]:
    """Backends with their own tokens and tenants, their urls in the copy's project file."""
    folder = copied(ROOT / "examples" / "gitops", tmp_path)
    file = folder / "synapse-apply.yaml"
    data = tmp_path / "backends"
    with (
        EmbeddedServer(data / "dev", any_token=True) as dev,
        EmbeddedServer(data / "staging", token="s", tenant="acme-staging") as staging,
        EmbeddedServer(data / "prod", token="p", tenant="acme") as prod,
    ):
        text = file.read_text()
        for url, server in (("staging.synapse.example", staging), ("api.synapse.example", prod)):
            assert f"https://{url}" in text
            text = text.replace(f"https://{url}", server.url)
        file.write_text(text)
        tokens = {"SYNAPSE_STAGING_TOKEN": "s", "SYNAPSE_PROD_TOKEN": "p"}
        developers = {"SYNAPSE_HOST": dev.url, "SYNAPSE_ACCESS_TOKEN": "any"}
        yield GitOps(folder, {**variables(folder / "example.env"), **tokens, **developers})


def test_each_target_gets_its_own_values(gitops: GitOps) -> None:
    """dev, staging and prod differ by variables, overlays and manifests, and by nothing else."""
    seen = {}
    gitops.start("dev", "staging", "prod")
    for target in ("dev", "staging", "prod"):
        plan = json.loads(gitops.run(f"plan -t {target} --json").stdout)
        assert plan["summary"]["add"] == plan["summary"]["change"] == 0
        seen[target] = {row["address"]: row["change"]["after"] for row in plan["resource_changes"]}
    assert [len(rows) for rows in seen.values()] == [3, 3, 4]
    plugins = [rows["plugin/defect-detection"] for rows in seen.values()]
    thresholds = [row["configuration"]["parameters"]["threshold"]["default"] for row in plugins]
    assert thresholds == [0.5, 0.5, 0.8]
    assert [row["author"] for row in plugins] == [
        "Vision Team",
        "Vision Team",
        "Acme Platform Team",
    ]
    buckets = [rows["storage/raw-data"]["configuration"]["bucket_name"] for rows in seen.values()]
    assert buckets == ["defects-dev", "acme-staging-defects", "acme-defects"]
    kept = gitops.folder.parent / "synapse-state"
    assert sorted(path.name for path in kept.glob("*.db")) == ["prod.db", "staging.db"]


def test_a_lost_pinned_state_is_an_error(gitops: GitOps) -> None:
    """Without its state, prod does nothing and makes no empty one; a backup brings it back."""
    gitops.start("prod")
    gitops.run("state backup kept -t prod")
    shutil.rmtree(gitops.folder.parent / "synapse-state")
    assert "There is no state for this target" in gitops.run("plan -t prod", 1).stderr
    assert f"--lineage {PIN}" in gitops.run("state init -t prod", 1).stderr
    gitops.run("state restore kept -t prod --auto-approve")
    assert gitops.run("plan -t prod").stdout == EMPTY


def test_changed_bytes_are_a_note_or_a_refusal_until_the_version_moves(gitops: GitOps) -> None:
    """As its README says: a note on staging, a refusal on prod, then one line makes a release."""
    gitops.start("staging", "prod")
    package = gitops.folder / "plugins" / "defect-detection"
    code, config = package / "plugin" / "detect.py", package / "config.yaml"
    code.write_text(code.read_text() + "\n# faster\n")
    staging = gitops.run("plan -t staging --detailed-exitcode").stdout
    assert "release/defect-detection@1.1.0 has unreleased changes" in staging
    prod = gitops.run("plan -t prod --detailed-exitcode", 2).stdout
    assert "Refused: 1 (see ! rows)." in prod
    config.write_text(config.read_text().replace("version: 1.1.0", "version: 1.2.0"))
    moved = gitops.run("apply -t prod --auto-approve").stdout
    assert "# release/defect-detection@1.2.0 will be created" in moved
    assert "Plan: 1 to add, 0 to change, 0 to destroy." in moved
    assert gitops.run("plan -t prod").stdout == EMPTY


def test_a_fleet_begins_with_the_commands_of_its_page(tmp_path: Path) -> None:
    """Each command of the README ends with 0, one after the other; only the servers are others."""
    folder = copied(ROOT / "examples" / "fleet", tmp_path)
    page = (folder / "README.md").read_text()
    (block,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    tokens = {"ACME": "acme", "BETA": "beta", "LAB": "canary-lab"}
    with EmbeddedServer(tmp_path / "data", tokens=tokens) as server:
        file = folder / "synapse-apply.yaml"
        text = file.read_text()
        for old, new in (
            ("https://api.synapse.example", server.url),
            ("s3://platform-states/${row.name}", ".synapse-apply/state/${row.name}.db"),
        ):
            assert old in text
            text = text.replace(old, new)
        file.write_text(text)
        given = variables(folder / "example.env") | {f"SYNAPSE_TOKEN_{one}": one for one in tokens}
        for line in block.splitlines():
            assert line.startswith("synapse-apply ")
            words = line.partition("#")[0].replace("'", "").removeprefix("synapse-apply ")
            ran = run(words, folder, given)
        assert "1 to add" in ran.stdout
        shutil.rmtree(folder / ".synapse-apply")
        refused = run("state init -t acme --pin", folder, given, 1).stderr
        assert refused.startswith("Error: A target from a list cannot be pinned\n")
        assert run("state show -t acme", folder, given, 1).stderr
