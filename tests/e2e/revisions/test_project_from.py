"""`--project-from git:REF`: a change cannot rule on itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from e2e.revisions.conftest import Repository

STORAGE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: bucket}
spec:
  name: Bucket
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    access_key_id: {valueFrom: {env: RAW_ID}}
    secret_access_key: {valueFrom: {env: DEPLOY_KEY}}
"""


def settings(repo: Repository, **more: Any) -> None:
    """Change the settings of target prod in the checkout."""
    path = repo.root / "synapse-apply.yaml"
    document = json.loads(path.read_text())
    document["targets"]["prod"] |= more
    path.write_text(json.dumps(document, indent=2))


@pytest.mark.parametrize("command", [["plan"], ["apply", "--auto-approve"]])
def test_the_token_goes_where_the_base_says(repo: Repository, command: list[str]) -> None:
    """A url and a token that a pull request names are not used, and it is told which differ."""
    settings(repo, url="http://127.0.0.1:9/steal", token={"env": "OTHER_TOKEN"}, tenant="evil")
    ran = repo.place.run(*command, "--project-from", "git:main", code=0)
    assert "No changes." in ran.out
    assert "Changed settings in the project file are ignored" in ran.text
    assert "targets.prod.url, targets.prod.tenant, targets.prod.token: " in ran.text
    assert "synapse-apply.yaml:" in ran.text


def test_what_a_manifest_may_read_is_what_the_base_allows(repo: Repository) -> None:
    """Allow-lists widened by the change itself do not hold yet."""
    settings(repo, allow_env=["RAW_*"])
    repo.commit("lists")
    repo.git("branch", "-f", "main")
    settings(repo, allow_env=["*"])
    repo.place.write("manifests/bucket.yaml", STORAGE)
    assert "DEPLOY_KEY" not in repo.place.run("validate", code=0).text
    for command in ("validate", "plan"):
        ran = repo.place.run(command, "--project-from", "git:main", code=1)
        assert "DEPLOY_KEY matches no pattern of allow_env: RAW_*" in ran.text
        assert "targets.prod.allow_env: the plan uses the settings of main" in ran.text


def test_manifests_variables_and_overlays_are_those_of_the_checkout(repo: Repository) -> None:
    """What the change declares is planned; an equal project file is no row."""
    path = repo.root / "synapse-apply.yaml"
    document = json.loads(path.read_text())
    document["variables"] = {"what": {}}
    document["targets"]["prod"] |= {
        "variables": {"what": "stars"},
        "overlays": {"plugin/yolo": {"spec": {"author": "Vision"}}},
    }
    path.write_text(json.dumps(document))
    repo.place.edit("manifests/plugin.yaml", "Finds things", "Finds ${var.what}")
    ran = repo.place.plan("--project-from", "git:main", "--detailed-exitcode", code=2)
    assert '"Finds stars"' in ran.out
    assert '"Vision"' in ran.out
    assert "Changed settings" not in ran.text


def test_guards_and_policy_are_those_of_the_base(repo: Repository) -> None:
    """A change that loosens a rule is still held to it."""
    settings(repo, policy={"unreleased_source": "refuse"})
    repo.commit("strict")
    repo.git("branch", "-f", "main")
    settings(repo, policy={"unreleased_source": "note"})
    repo.place.write("plugins/yolo/plugin/main.py", "print('changed')\n")
    assert "Refused: 1" not in repo.place.plan(code=0).out
    ran = repo.place.plan("--project-from", "git:main", code=0)
    assert "Refused: 1 (see ! rows)." in ran.out
    assert "targets.prod.policy" in ran.text


PROTECTED = {"rule": "protected", "addresses": ["plugin/yolo", "storage/raw-data"]}
NAMED = {"rule": "no-public-plugins", "except": ["plugin/free"]}


@pytest.fixture
def ruled(repo: Repository) -> Repository:
    """The rules are on the base branch; the change takes them away, which does not count."""
    rules = [PROTECTED, NAMED]
    settings(repo, policy={"rules": rules})
    repo.commit("rules")
    repo.git("branch", "-f", "main")
    settings(repo, policy={"rules": []})
    return repo


def rename(repo: Repository, *pairs: tuple[str, str]) -> None:
    path = repo.root / "synapse-apply.yaml"
    document = json.loads(path.read_text())
    document["moved"] = [{"from": old, "to": new} for old, new in pairs]
    path.write_text(json.dumps(document))


def use_other_address(repo: Repository, metadata: str = "{name: free}") -> None:
    repo.place.edit("manifests/plugin.yaml", "{name: yolo}", metadata)
    repo.place.edit("manifests/plugin.yaml", "plugin: yolo", "plugin: free")


def apply_pinned(repo: Repository, *more: str, code: int | None = 5) -> str:
    repo.commit("change")
    return repo.place.apply("--project-from", "git:main", *more, code=code).text


CHAIN = [("plugin/yolo", "plugin/b"), ("plugin/b", "plugin/free")]


@pytest.mark.parametrize("pairs", [CHAIN[:0], [("plugin/yolo", "plugin/free")], CHAIN])
def test_a_protected_resource_is_not_moved_away(ruled, server, pairs) -> None:
    """Neither with a change beside it nor alone; with a move by key, it is a rename of its own."""
    repo, writes = ruled, len(server.writes)
    before = repo.place.run("state", "show", code=0).out
    rename(repo, *pairs)
    use_other_address(repo)
    told = apply_pinned(repo)
    if pairs:
        assert "`moved` makes plugin/yolo plugin/free" in told
        assert "(policy: protected)" in told
        assert "synapse-apply.yaml" in told
        offline = repo.place.plan(
            *("--offline", "--against", "git:main", "--project-from", "git:main")
        )
        assert "(policy: protected)" in offline.out
        assert "has moved to" not in offline.out
    assert repo.place.run("state", "show", code=0).out == before
    # The next commit makes use of it, or thinks so.
    repo.place.edit("manifests/plugin.yaml", "Finds things", "Theirs")
    rename(repo)
    apply_pinned(repo)
    assert len(server.writes) == writes
    assert repo.place.run("state", "show", code=0).out == before


@pytest.mark.parametrize("how", ["removed", "gone", "pinned", "both", "removed, then pinned"])
def test_no_other_address_takes_a_protected_object(ruled, server, how: str) -> None:
    """Forgotten on purpose, no longer declared, adopted by its id, or by two addresses at once."""
    repo, writes = ruled, len(server.writes)
    before = repo.place.run("state", "show", code=0).out
    path = repo.root / "manifests/plugin.yaml"
    if "removed" in how:
        file = repo.root / "synapse-apply.yaml"
        file.write_text(
            json.dumps(json.loads(file.read_text()) | {"removed": [{"address": "plugin/yolo"}]})
        )
    own = path.read_text()
    if how in {"removed", "gone", "removed, then pinned"}:
        path.write_text("")
        apply_pinned(repo, "--prune")
    if how not in {"removed", "gone"}:
        theirs = own.partition("---")[0].replace("{name: yolo}", "{name: free, id: 1}")
        theirs = theirs.replace("Finds things", "Theirs")
        path.write_text(f"{own}---\n{theirs}" if how == "both" else theirs)
        apply_pinned(repo, "--prune", "--adopt", code=1 if how == "both" else 5)
    assert len(server.writes) == writes
    assert "plugin/yolo" in before
    now = repo.place.run("state", "show", code=0).out
    assert "plugin/yolo" in now
    assert "plugin/free" not in now


def test_a_move_does_not_reach_an_exception(ruled, server) -> None:
    """In two commits: first the name that the rule excepts, then what it forbids; not even alone."""
    repo = ruled
    settings(repo, policy={"rules": [NAMED]})
    repo.commit("rules")
    repo.git("branch", "-f", "main")
    writes = len(server.writes)
    rename(repo, ("plugin/yolo", "plugin/free"))
    use_other_address(repo)
    told = apply_pinned(repo)
    assert "`moved` makes plugin/yolo plugin/free" in told
    assert "add `except: [plugin/yolo]`" in told
    repo.place.edit("manifests/plugin.yaml", "code: yolo", "code: yolo\n  is_public: true")
    apply_pinned(repo)
    assert len(server.writes) == writes
    # What the way out says is one: the rule applies to neither address.
    settings(repo, policy={"rules": [NAMED | {"except": ["plugin/free", "plugin/yolo"]}]})
    repo.commit("except")
    repo.git("branch", "-f", "main")
    assert "plugin/yolo has moved to plugin/free" in apply_pinned(repo, code=0)
    assert len(server.writes) == writes + 1


def test_a_move_that_stays_under_its_rule_is_made(ruled, server) -> None:
    """Nothing is done to the object, and the rule holds it as before."""
    repo = ruled
    settings(repo, policy={"rules": [PROTECTED | {"addresses": ["storage/raw-*"]}]})
    repo.commit("rules")
    repo.git("branch", "-f", "main")
    rename(repo, ("storage/raw-data", "storage/raw-other"))
    repo.place.edit("manifests/storage.yaml", "name: raw-data}", "name: raw-other}")
    assert "storage/raw-data has moved to storage/raw-other" in apply_pinned(repo, code=0)
    repo.place.edit("manifests/storage.yaml", "/data/raw", "/data/theirs")
    assert "it is protected, so no change is allowed" in apply_pinned(repo)


def test_a_row_of_the_json_names_every_setting(repo: Repository) -> None:
    """Programs read the same row, with the place of the target in the checkout."""
    settings(repo, on_drift="revert", settle_after=1, guards={"min_objects": 3})
    found = repo.place.plan("--json", "--project-from", "git:main", code=0).document
    (row,) = [one for one in found["diagnostics"] if "Changed settings" in one["summary"]]
    assert row["severity"] == "warning"
    assert "targets.prod.settle_after, targets.prod.guards:" in row["detail"]
    assert row["range"]["filename"] == "synapse-apply.yaml"


def test_a_target_of_the_change_waits_for_its_merge(repo: Repository) -> None:
    """A new target is named as new, and cannot be planned for."""
    path = repo.root / "synapse-apply.yaml"
    document = json.loads(path.read_text())
    document["targets"]["next"] = {"url": "http://127.0.0.1:9"}
    path.write_text(json.dumps(document))
    ran = repo.place.plan("-t", "next", "--project-from", "git:main", code=1)
    assert "synapse-apply.yaml at main has no target `next`" in ran.text
    ran = repo.place.run("validate", "--project-from", "git:main", code=0)
    assert "targets.next: the plan uses the settings of main" in ran.text


def test_a_broken_file_of_the_base_is_told_by_its_place_there(repo: Repository) -> None:
    """A finding in the other revision names it, with line and column."""
    good = (repo.root / "synapse-apply.yaml").read_text()
    repo.place.write("synapse-apply.yaml", "apiVersion: synapse-apply/v1\nkind: Project\nurl: x\n")
    repo.commit("broken")
    repo.git("branch", "-f", "main")
    repo.place.write("synapse-apply.yaml", good)
    assert (
        "main:synapse-apply.yaml:3:1" in repo.place.plan("--project-from", "git:main", code=1).text
    )


@pytest.mark.parametrize(
    ("ref", "code", "said"),
    [
        ("git:nowhere", 1, "'nowhere' names no commit here."),
        ("git:--help", 1, "'--help' is not a ref."),
        ("git:", 64, "expected git:REF"),
        ("main", 64, "expected git:REF, not 'main'"),
    ],
)
def test_a_ref_that_is_none_is_told(repo: Repository, ref: str, code: int, said: str) -> None:
    """Nothing is planned with settings nobody asked for."""
    assert said in repo.place.plan("--project-from", ref, code=code).text


def test_a_project_file_that_is_new_is_told(repo: Repository) -> None:
    """Without a file at that ref, or outside of Git, there are no settings to take."""
    there = repo.place.root / "sub"
    there.mkdir()
    text = (repo.root / "synapse-apply.yaml").read_text()
    (there / "synapse-apply.yaml").write_text(text)
    ran = repo.place.run("validate", "-C", "sub", "--project-from", "git:main", code=1)
    assert "sub/synapse-apply.yaml is not in main." in ran.text
    (repo.root / ".git").rename(repo.root / "gone")
    ran = repo.place.plan("--project-from", "git:main", code=1)
    assert "Not a Git repository" in ran.text


def test_a_list_of_targets_is_that_of_the_base(repo: Repository) -> None:
    """A row gives its target no other url or token before it is merged, nor makes a target."""
    path = repo.root / "synapse-apply.yaml"
    document = json.loads(path.read_text())
    url = document["targets"]["prod"]["url"]
    document["targets_from"] = {
        "file": "tenants.yaml",
        "template": {**document["targets"]["prod"], "url": "${row.url}", "tenant": "${row.code}"},
    }
    path.write_text(json.dumps(document))
    repo.place.write("tenants.yaml", f"- {{name: tenant-a, url: '{url}', code: acme}}\n")
    repo.commit("a list")
    repo.git("branch", "-f", "main")
    evil = "- {name: tenant-a, url: 'http://127.0.0.1:9/steal', code: evil}\n"
    repo.place.write("tenants.yaml", evil + "- {name: new, url: 'http://x.example', code: n}\n")
    doctor = repo.place.run("doctor", "-t", "tenant-a", "--project-from", "git:main")
    assert url in doctor.out
    assert "127.0.0.1:9/steal" not in doctor.text
    ran = repo.place.run("validate", "-t", "tenant-a", "--project-from", "git:main", code=0)
    told = "targets.tenant-a.url, targets.tenant-a.tenant, targets.new: the plan uses the settings"
    assert f"{told} of main" in ran.text
    ran = repo.place.run("validate", "-t", "new", "--project-from", "git:main", code=1)
    assert "Target not declared at that Git ref" in ran.text
