"""A storage of a provider that the project file describes, from the first plan to the export."""

from __future__ import annotations

import json

from e2e.scenarios.workplace import Workplace

PASSWORD = "the-password-of-the-nas"
NAS = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: nas}
spec:
  name: Nas
  provider: acme_nas
  category: external
  configuration: {host: nas.example, password: {valueFrom: {env: RAW_PASSWORD}}}
"""


def describe(place: Workplace) -> None:
    settings = json.loads((place.root / "synapse-apply.yaml").read_text())
    keys = {"host": {"required": True}, "password": {"secret": True}}
    settings["providers"] = {"acme_nas": {"keys": keys}}
    settings["targets"]["prod"]["allow_env"] = ["RAW_*"]
    place.write("synapse-apply.yaml", json.dumps(settings))


def test_it_is_planned_applied_shown_and_exported(applied, server):
    describe(applied)
    applied.environ["RAW_PASSWORD"] = PASSWORD
    applied.write("manifests/nas.yaml", NAS)
    plan = applied.plan(code=0)
    assert "Unknown provider" not in plan.text
    assert '+ host     = "nas.example"' in plan.out
    assert "+ password = (sensitive" in plan.out
    applied.apply()
    applied.unchanged()
    shown = applied.run("show", "storage/nas", code=0).out
    assert "nas.example" in shown
    exported = applied.run("export", "--out", "exported", code=None)
    written = "".join(p.read_text() for p in (applied.root / "exported").rglob("*.yaml"))
    assert "host: nas.example" in written
    assert PASSWORD not in written + exported.text + shown + plan.text


def test_describing_it_later_changes_nothing(applied):
    """What was a secret as long as nobody knew better is taken over without a call."""
    applied.environ["RAW_PASSWORD"] = PASSWORD
    settings = json.loads((applied.root / "synapse-apply.yaml").read_text())
    settings["targets"]["prod"]["allow_env"] = ["RAW_*"]
    applied.write("synapse-apply.yaml", json.dumps(settings))
    applied.write("manifests/nas.yaml", NAS)
    assert applied.apply().text.count("Unknown provider") == 1
    describe(applied)
    applied.unchanged()
