"""Debug releases on the embedded backend: replaced, or kept where it is told to keep them."""

from __future__ import annotations

import json

from e2e.scenarios.workplace import Server, Workplace

AT = "release/yolo@1.0.0"


def declare_debug(place: Workplace) -> Workplace:
    document = json.loads((place.root / "synapse-apply.yaml").read_text())
    rules = [{"rule": "no-debug-releases", "severity": "off"}]
    document["targets"]["prod"]["policy"] = {"rules": rules}
    place.write("synapse-apply.yaml", json.dumps(document))
    place.edit("manifests/plugin.yaml", "  source:", "  debug: true\n  source:")
    place.apply()
    place.write("plugins/yolo/plugin/main.py", "print('other')\n")
    return place


def test_it_is_replaced_once(ready: Workplace, server: Server) -> None:
    """By one more upload, under its id."""
    place = declare_debug(ready)
    ids = [row["id"] for row in server.objects("release")]
    place.apply("--allow-replace")
    assert [row["id"] for row in server.objects("release")] == ids
    assert server.call("GET", "_emulator/requests/")["counts"]["POST /plugin_releases/"] == 2
    place.unchanged()


def test_a_backend_that_keeps_what_is_published_says_so(ready: Workplace, server: Server) -> None:
    """The call fails with the way out, nothing is recorded, and the row stays due."""
    place = declare_debug(ready)
    server.switch(debug_releases="final")
    recorded = place.run("state", "show", AT, "--json", code=0).document["digest"]
    ran = place.apply("--allow-replace", code=3)
    assert (
        "This backend never replaces the package of a published version: raise the version."
        in ran.text
    )
    assert place.run("state", "show", AT, "--json", code=0).document["digest"] == recorded
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in place.plan(code=0).out


def test_no_more_than_the_package_changes(ready: Workplace, server: Server) -> None:
    """Another changelog with it: both stay, since a release's fields never change."""
    place = declare_debug(ready)
    place.edit("manifests/plugin.yaml", "changelog: First", "changelog: Second")
    place.apply("--allow-replace", code=None)
    assert server.call("GET", "_emulator/requests/")["counts"]["POST /plugin_releases/"] == 1


def test_the_first_plan_after_another_api_replaces_it(ready: Workplace) -> None:
    """API v2 has no `debug`, so a record that was written there does not say it."""
    place = declare_debug(ready)
    package = "plugins/yolo/plugin/main.py"
    changed = (place.root / package).read_text()
    place.write(package, "print('yolo')\n")
    project = json.loads((place.root / "synapse-apply.yaml").read_text())
    first, other = json.dumps(project), project
    other["targets"]["prod"] |= {"api": "v2", "unsupported_fields": "warning"}
    place.write("synapse-apply.yaml", json.dumps(other))
    place.apply()
    place.write("synapse-apply.yaml", first)
    place.write(package, changed)
    assert "Plan: 0 to add, 1 to change, 0 to destroy." in place.plan(code=0).out
    place.apply("--allow-replace")
    place.unchanged()
