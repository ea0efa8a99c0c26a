"""What is said and what is never said on the vendor's v1, and on a v2 that only reads."""

from __future__ import annotations

import re

import pytest
from contract.vendor.world import AGENT_TOKEN

HANGUL = re.compile("[가-힣]")
BUCKET = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: bucket}
spec:
  name: Bucket
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    %s: {valueFrom: {env: RAW_ID}}
    %s: {valueFrom: {env: RAW_KEY}}
"""
SECRETS = {"RAW_ID": "canary-id-0123", "RAW_KEY": "canary-key-0123"}


def test_english_is_asked_for_on_every_request(backend, applied):
    applied.run("drift", code=0)
    applied.run("get", "jobs", code=0)
    languages = {one.headers.get("Accept-Language", "") for one in backend.requests}
    assert all(language.startswith("en") for language in languages), languages


def test_a_refusal_is_told_in_english(backend, place):
    backend.world.add_plugin("other", "Hidden", "yolo")
    ran = place.apply(code=3)
    assert not HANGUL.search(ran.text), ran.text


def test_the_signature_of_a_file_is_never_shown_or_stored(backend, applied):
    """Not by any command that shows a release, and in no file of the project."""
    release = str(backend.world.releases[0]["id"])
    ran = [
        applied.run("get", "release", release, code=None),
        applied.run("get", "release", release, "--json", code=None),
        applied.run("get", "releases", "--plugin", "yolo", code=None),
        applied.run("plan", "--json", code=None),
        applied.run("show", "release/yolo", code=None),
        applied.run("verify", "--bytes", "release/yolo", code=None),
        applied.run("export", "--out", "new", "--inventory", "new/inventory.yaml", code=None),
    ]
    texts = [one.text.encode() for one in ran]
    texts += [path.read_bytes() for path in applied.root.rglob("*") if path.is_file()]
    assert backend.world.signatures
    for text in texts:
        assert b"X-Amz" not in text
        assert not any(signature.encode() in text for signature in backend.world.signatures)


def test_the_install_script_of_an_agent_is_never_shown(backend, applied):
    """A token stands in it."""
    for options in ((), ("--json",)):
        assert AGENT_TOKEN not in applied.run("doctor", *options, code=None).text


def test_refused_keys_of_a_storage_are_named(serve, create_project):
    """The page's keys on a server that has others: names of keys, and no value."""
    backend = serve(refuses_storage_keys=True)
    place = create_project(backend)
    place.environ.update(SECRETS)
    place.write("manifests/bucket.yaml", BUCKET % ("access_key_id", "secret_access_key"))
    ran = place.apply(code=3)
    _, _, error = ran.text.partition("Error: ")
    for name in ("access_key_id", "secret_access_key", "access_key", "secret_key"):
        assert re.search(rf"\b{name}\b", error), error
    assert "canary" not in ran.text


@pytest.fixture(params=["left out", "empty"])
def bucket(request, serve, create_project):
    """A backend that withholds credentials, and a project that declares a storage with some."""
    backend = serve(credential_regime="session", withheld_secrets=request.param)
    place = create_project(backend)
    place.environ.update(SECRETS)
    place.write("manifests/bucket.yaml", BUCKET % ("access_key", "secret_key"))
    return backend, place


def test_a_storage_of_a_credential_regime_is_made_once(bucket):
    """What is withheld is no difference and no drift."""
    backend, place = bucket
    place.apply()
    place.unchanged()
    place.run("drift", "--detailed-exitcode", code=0)
    bodies = [one.json()["configuration"] for one in backend.requests_to("POST", "/storages/")]
    assert all(value for body in bodies for value in body.values())


def test_a_storage_of_a_credential_regime_is_adopted_unchecked(bucket):
    """Made in Synapse: said to be not checked, and nothing is sent to it."""
    backend, place = bucket
    configuration = {"bucket_name": "b", "access_key": "other", "secret_key": "other"}
    fields = {"category": "external", "configuration": configuration}
    backend.world.add_storage("Bucket", **fields)
    ran = place.apply("--adopt")
    assert "not checked" in ran.text
    assert "canary" not in ran.text
    assert backend.counts == (1, 1, 2)
    place.unchanged()
    ran = place.run("export", "--out", "new", "--inventory", "new/inventory.yaml", code=None)
    text = (place.root / "new" / "storages" / "bucket.yaml").read_text(encoding="utf-8")
    assert '""' not in text
    assert "''" not in text


def test_a_v2_that_only_reads_names_the_way_out(serve, create_project):
    backend = serve(writes_v2=False)
    place = create_project(backend, api="v2")
    ran = place.apply(code=None)
    assert ran.code in {1, 3, 5}
    assert "read-only" in ran.text
    assert "use API v1 for plugins and releases" in ran.text


def test_debug_releases_are_refused_by_default(backend, place):
    """The vendor replaces them; a project that wants them says so."""
    place.edit("manifests/plugin.yaml", "source:", "debug: true\n  source:")
    ran = place.apply(code=5)
    assert "no-debug-releases" in ran.text
    assert backend.counts == (1, 0, 1)


@pytest.mark.parametrize("answer", ["empty", "404", "400"])
def test_releases_of_a_code_that_is_not_there_yet(serve, create_project, answer):
    """No plugin, hence no releases: not an error of the plan."""
    backend = serve(unknown_owner_filter=answer)
    ran = create_project(backend).plan(code=0)
    assert "3 to add" in ran.out
