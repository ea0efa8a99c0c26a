"""A tenant that was made by hand comes under Git, and lives there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.scenarios.workplace import TOKEN, Server, Workplace, project

CANARY = "made-by-hand-7f3a91"


@pytest.fixture
def tenant(serve: Callable[..., Server]) -> Server:
    """Four plugins, six releases, three storages; secrets are masked on read."""
    server = serve(secrets="masked", plugin_list="list")
    for number, name in enumerate(("Yolo", "세그먼트", "no", "Old one")):
        body = {"name": name, "code": f"code-{number}", "description": f"The {number}."}
        server.call("POST", "plugins/", body)
        for version in ("1.0.0", "1.1.0")[: 2 - number % 2]:
            server.call("POST", "plugin_releases/", {"plugin": number + 1, "version": version})
    keys = {"access_key_id": CANARY, "secret_access_key": CANARY}
    for name, provider, configuration in (
        ("Raw Data", "amazon_s3", {"bucket_name": "raw", **keys}),
        ("NAS", "file_system", {"base_path": "/data"}),
        ("Scratch", "file_system", {"base_path": "/tmp"}),
    ):
        body = {"name": name, "provider": provider, "category": "external"}
        server.call("POST", "storages/", {**body, "configuration": configuration})
    return server


def test_from_a_grown_tenant_to_a_deploy(tenant: Server, tmp_path: Path) -> None:
    """Export, import, `No changes.`; then an edit in Git changes that field and nothing else."""
    place = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN})
    place.write("synapse-apply.yaml", project(tenant.url))
    (place.root / "manifests").mkdir()
    before = {kind: tenant.objects(kind) for kind in ("plugin", "release", "storage")}
    sent = tenant.writes

    # The mistake of the hasty: manifests, and no state yet. Nothing is made a second time.
    said = place.run("export", code=0).out
    assert "Export complete! 11 resources exported, 0 not." in said, said
    assert "synapse-apply state init" in place.apply(code=1).err
    place.run("state", "init", code=0)
    hasty = place.apply(code=5)
    assert "--adopt" in hasty.err
    place.run("import", "-f", "inventory.yaml", code=0)
    place.unchanged()
    place.apply()
    assert tenant.writes == sent
    assert {kind: tenant.objects(kind) for kind in before} == before
    assert CANARY.encode() not in b"".join(
        path.read_bytes() for path in place.root.rglob("*") if path.is_file()
    )

    # Life under Git.
    place.edit("manifests/plugins/code-0.yaml", "The 0.", "The first.")
    ran = place.apply().out
    assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in ran
    (first, *others) = tenant.objects("plugin")
    assert first["body"]["description"] == "The first."
    assert [one["body"] for one in others] == [one["body"] for one in before["plugin"][1:]]

    # Somebody goes on by hand: told, and nothing is done about what nobody declared.
    tenant.call("POST", "storages/", {"name": "By hand", "provider": "file_system",
                "category": "internal", "configuration": {"base_path": "/x"}})  # fmt: skip
    ran = place.run("drift", "--unmanaged", "--detailed-exitcode", code=0)
    assert "Unmanaged: 1 live object neither declared nor recorded." in ran.out
    assert "By hand" in ran.out
    place.unchanged()
    assert "1 resource exported" in place.run("export", "--unmanaged", "--force", code=0).out
    assert "--adopt" in place.apply(code=5).err
    place.apply("--adopt")
    place.unchanged()
    assert tenant.counts == (4, 6, 4)
