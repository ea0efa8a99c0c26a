"""`drift --write`: live values are written where the declared ones stand, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from e2e.scenarios.canaries import CANARIES, leaks_in_files
from e2e.scenarios.workplace import STAGING, STORAGE, TOKEN, Server, Workplace

PLUGIN = """\
# Who finds what.
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec:
  name: Yolo
  code: yolo
  description: Finds things  # shown in Synapse
  author: ${var.author}
  configuration:
    parameters: {quality: {type: float, default: 0.8}}
    classes:
      - car  # the first
      - bus
    old: 1
"""
PROJECT = """\
# Ours.
apiVersion: synapse-apply/v1
kind: Project
manifests: [manifests/]
variables:
  author: {default: Vision}
default_target: prod
targets:
  prod:
    url: URL
    tenant: acme
    token: {env: PROD_TOKEN}
    allow_env: ["RAW_*"]
"""
LIVE = {
    "description": "Finds all: ${even} #this",
    "configuration": {
        "parameters": {"quality": {"type": "float", "default": 0.5}},
        "classes": ["car", "bus", "no"],
    },
}


@pytest.fixture
def site(ready: Workplace, server: Server) -> Workplace:
    """A plugin that was applied and then changed by hand; the file has comments and a variable."""
    for name in ("manifests/plugin.yaml", "manifests/storage.yaml"):
        (ready.root / name).unlink()
    ready.write("synapse-apply.yaml", PROJECT.replace("URL", server.url))
    ready.write("manifests/all.yaml", PLUGIN)
    ready.apply()
    server.call("PATCH", "_emulator/objects/plugin/1/", LIVE)
    return ready


def text(place: Workplace, name: str = "manifests/all.yaml") -> str:
    return (place.root / name).read_text(encoding="utf-8")


def files(place: Workplace) -> dict[str, str]:
    return {str(p): p.read_text(encoding="utf-8") for p in place.root.glob("**/*.yaml")}


def test_the_manifest_follows(site: Workplace) -> None:
    """Scalars, items, keys that are gone, texts that look like variables; comments stay."""
    ran = site.run("drift", "--write", "plugin/yolo", code=0)
    assert (
        'manifests/all.yaml:8  spec.description: "Finds things" -> "Finds all: ${even} #this"'
        in ran.out
    )
    assert "spec.configuration.old: 1 -> (not set)" in ran.out
    expected = PLUGIN.replace(
        "description: Finds things", 'description: "Finds all: $${even} #this"'
    )
    expected = expected.replace("0.8", "0.5").replace(
        "      - bus\n", '      - bus\n      - "no"\n'
    )
    assert text(site) == expected.replace("    old: 1\n", "")
    site.unchanged()
    ran = site.run("drift", "--write", "plugin/yolo", code=0)
    assert ran.out == "Nothing to edit: the files already have the live values.\n"


def test_a_rehearsal(site: Workplace) -> None:
    """--dry-run shows the edits and writes nothing; --json has them as data."""
    before = files(site)
    ran = site.run("drift", "--write", "plugin/yolo", "--dry-run", code=0)
    assert "Nothing was written (--dry-run)." in ran.out
    document = site.run("drift", "--write", "plugin/yolo", "--dry-run", "--json", code=0).document
    assert {"address": "plugin/yolo", "path": "/configuration/parameters/quality/default",
            "file": "manifests/all.yaml", "line": 11, "before": 0.8, "after": 0.5} in document[
        "accepted"]  # fmt: skip
    assert files(site) == before


def test_of_several_targets_one_is_edited(site: Workplace, server: Server) -> None:
    """What other targets read too stays; the overlay is made, and used the next time."""
    path = "synapse-apply.yaml"
    site.write(path, PROJECT.replace("URL", server.url) + STAGING)
    before = text(site)
    site.run("drift", "-t", "prod", "--write", "plugin/yolo", code=0)
    assert text(site) == before
    made = text(site, path)
    assert made.startswith(PROJECT.replace("URL", server.url))
    assert made.endswith(STAGING)
    assert "      plugin/yolo:\n        spec:\n          configuration:\n" in made
    assert '          description: "Finds all: $${even} #this"\n' in made
    site.unchanged()
    site.apply()
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "Once more"})
    ran = site.run("drift", "--write", "plugin/yolo", code=0)
    assert "synapse-apply.yaml:" in ran.out
    assert '          description: "Once more"\n' in text(site, path)
    site.unchanged()


def test_a_document_of_one_target_alone_is_edited_itself(site: Workplace, server: Server) -> None:
    """Other targets do not read it."""
    own = PROJECT.replace("URL", server.url).replace("[manifests/]", "[common/]")
    own += "    manifests: [manifests/]\n" + STAGING
    site.write("synapse-apply.yaml", own)
    site.write("common/storage.yaml", STORAGE)
    site.run("drift", "-t", "prod", "--write", "plugin/yolo", code=0)
    assert "Finds all" in text(site)
    assert text(site, "synapse-apply.yaml") == own


def refused(place: Workplace, *typed: str) -> str:
    before = files(place)
    ran = place.run("drift", *typed, code=1)
    assert files(place) == before, "a file was written"
    assert "This drift cannot be written" in ran.err
    return ran.err


def test_a_variable_is_told_with_its_place(site: Workplace, server: Server) -> None:
    """It is not written at the field; nothing of the same command is written either."""
    server.call("PATCH", "_emulator/objects/plugin/1/", {"author": "Somebody"})
    said = refused(site, "--write", "plugin/yolo")
    assert "on manifests/all.yaml:9:3, with plugin/yolo" in said
    assert "spec.author comes from variable author." in said
    assert "Change the variable (synapse-apply.yaml:6:3), or write the value itself." in said


def test_a_pattern_is_for_others_too(site: Workplace, server: Server) -> None:
    """An overlay of several addresses is named, not edited."""
    overlay = '    overlays: {"plugin/*": {spec: {description: All}}}\n'
    site.write("synapse-apply.yaml", PROJECT.replace("URL", server.url) + overlay)
    said = refused(site, "--write", "plugin/yolo")
    assert (
        "spec.description is set by the overlay plugin/*, which also applies to other addresses."
    ) in said
    assert "on synapse-apply.yaml:14:36" in said


def test_what_the_package_says(site: Workplace, server: Server) -> None:
    """A field out of its config.yaml is changed there."""
    site.write("plugins/yolo/config.yaml", "name: Yolo\ncode: yolo\ndescription: Finds things\n")
    site.edit("manifests/all.yaml", "  name: Yolo\n", "  from: ./plugins/yolo\n  name: Yolo\n")
    site.edit("manifests/all.yaml", "  description: Finds things  # shown in Synapse\n", "")
    said = refused(site, "--write", "plugin/yolo")
    assert (
        "spec.description is not in the manifest: the value comes from the package's config.yaml."
    ) in said
    assert "Change the value in the config.yaml of ./plugins/yolo." in said


def test_all_findings_at_once(site: Workplace, server: Server) -> None:
    """Unknown, gone, and what cannot be edited in place: each is told, and no file is written."""
    site.edit("manifests/all.yaml", "description: Finds", "description: &d Finds")
    site.run("apply", "--auto-approve", "--exclude", "plugin", code=0)
    said = refused(site, "--write", "plugin/yolo", "--write", "plugin/nobody")
    assert "No manifest declares plugin/nobody." in said
    site.write("manifests/more.yaml", PLUGIN.replace("yolo", "two").replace("Yolo", "Two"))
    site.apply("--only", "plugin/two")
    server.call("DELETE", "_emulator/objects/plugin/2/")
    said = refused(site, "--write", "plugin/two", "--write", "plugin/nobody")
    assert "plugin/two is gone, so there is nothing to write." in said
    assert "plugin/nobody" in said
    ran = site.run("drift", "--write", "plugin/yolo", code=1)
    assert "has an anchor or a tag (&d)" in ran.err


def test_a_secret_never_goes_into_a_file(make: Callable[..., Workplace], server: Server) -> None:
    """It is refused in words, and so is all else of that command."""
    place = make(server, allow_env=["RAW_*"])
    place.environ["RAW_KEY"] = CANARIES["env"]
    place.edit("manifests/storage.yaml", "file_system", "amazon_s3")
    place.edit("manifests/storage.yaml", "{base_path: /data/raw}",
               "{bucket_name: b, access_key_id: id, secret_access_key: {valueFrom: {env: RAW_KEY}}}")  # fmt: skip
    place.run("state", "init", code=0)
    place.apply()
    live: dict[str, Any] = {"bucket_name": "c", "access_key_id": "id",
                            "secret_access_key": CANARIES["file"]}  # fmt: skip
    server.call("PATCH", "_emulator/objects/storage/1/", {"configuration": live})
    said = refused(place, "--write", "storage/raw-data")
    assert (
        "spec.configuration.secret_access_key is a secret: its value never goes into a file" in said
    )
    assert "or change it back in Synapse: apply cannot undo it (" in said
    assert "--revert-drift" not in said
    assert not leaks_in_files(place.root, [])
    there = Workplace(place.root, {"PROD_TOKEN": TOKEN})
    assert "is a secret" in refused(there, "--write", "storage/raw-data")


def test_what_would_contradict_the_package(site: Workplace, server: Server) -> None:
    """A field that stands in both places must be the same in both: nothing is written."""
    site.write("plugins/yolo/config.yaml", "name: Yolo\ncode: yolo\ndescription: Finds things\n")
    site.edit("manifests/all.yaml", "  name: Yolo\n", "  from: ./plugins/yolo\n  name: Yolo\n")
    said = refused(site, "--write", "plugin/yolo")
    assert "With the live values, the manifests would have the errors below." in said
    assert "Manifest and package disagree" in said
