"""Ids and digests of a form that no server and no tool of ours gives: refused where they are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attack.bench import Bench

from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.remote import has_remote_id_form, parse_remote_id
from synapse_apply.model.state import Record

ODD = [
    "../1", "1/run", "1?x=y", "1#f", "a b", "1\n", "\u202e1", "-rf", "$(id)", "`id`", ";ls", "'",
    "%2e%2e", "١٢", "é", "a" * 129, ".", "..", "~root", "\x00",
]  # fmt: skip
DIGESTS = ["x", "pkg1:sha256:", f"pkg1:sha256:{'A' * 64}", f"pkg1:sha256:{'a' * 63}",
           f"pkg1:sha256:{'a' * 64}/../x", f"sha256:{'a' * 64}"]  # fmt: skip


def storage(identity: Any) -> str:
    metadata = {"name": "pinned", "id": identity}
    spec = {"name": "p", "provider": "file_system", "category": "internal",
            "configuration": {"base_path": "/x"}}  # fmt: skip
    return json.dumps(
        {"apiVersion": "synapse-apply/v1", "kind": "Storage", "metadata": metadata, "spec": spec}
    )


@pytest.mark.parametrize("identity", [*ODD, -1, 2**70, 1.5, True, ["1"]])
def test_of_a_manifest(bench: Bench, identity: Any) -> None:
    """At its place in the file; nothing is asked of the server."""
    site = bench.site("v1")
    (site.root / "manifests" / "pinned.yaml").write_text(storage(identity))
    code, out = bench.does(site, "plan")
    assert code == 1, out
    assert "pinned.yaml" in out
    assert "metadata.id" in out
    assert bench.liar.asked == []


@pytest.mark.parametrize("identity", ODD)
def test_of_an_inventory(bench: Bench, identity: str) -> None:
    """With the row; nothing is recorded, and nothing is asked of the server."""
    site = bench.site("v1")
    rows = [{"address": "storage/storage-0", "id": identity}]
    (site.root / "rows.json").write_text(json.dumps({"inventory": rows}))
    code, out = bench.does(site, "import -f rows.json")
    assert code == 1, out
    assert "row 1" in out
    assert (bench.liar.asked, site.records()) == ([], {})


@pytest.mark.parametrize("identity", [text for text in ODD if not {"\n", " ", "\x00"} & {*text}])
def test_of_a_command(bench: Bench, identity: str) -> None:
    """In words; nothing is asked of the server."""
    site = bench.site("v1")
    code, out = bench.does(site, f"import storage/storage-0 {identity}")
    assert code in {1, 64}, out
    assert "nternal error" not in out
    assert bench.liar.asked == []


@pytest.mark.parametrize("identity", ODD)
def test_of_a_state(identity: str) -> None:
    """Neither read nor written."""
    good = codec.record_to_json(Record(Address("storage", "a"), "1", "v1"))
    with pytest.raises(ValueError, match="remote_id: expected an id"):
        codec.record_from_json({**good, "remote_id": identity})
    with pytest.raises(TypeError, match="expected an id"):
        codec.record_to_json(Record(Address("storage", "a"), identity, "v1"))


@pytest.mark.parametrize("digest", DIGESTS)
def test_of_a_digest_in_a_state(digest: str) -> None:
    """It names files of saved plans."""
    good = codec.record_to_json(Record(Address("release", "a"), "1", "v1"))
    with pytest.raises(ValueError, match="digest: expected a digest"):
        codec.record_from_json({**good, "digest": digest})


@pytest.mark.parametrize("digest", DIGESTS)
def test_of_a_digest_in_an_inventory(bench: Bench, digest: str) -> None:
    site = bench.site("v1")
    rows = [{"address": "release/plugin-0@1.0.0", "id": "1", "digest": digest}]
    (site.root / "rows.json").write_text(json.dumps({"inventory": rows}))
    code, out = bench.does(site, "import -f rows.json")
    assert (code, "the digest" in out) == (1, True), out
    assert bench.liar.asked == []


@pytest.mark.parametrize(
    "identity", ["1", "0", "0b6e57a1-0000-4000-8000-000000000001", "01ARZ3NDEKTSV4RRFFQ69G5FAV",
                 "a_b-c.d~e:f@g+h=", "_x", "a" * 128, 7, 2**63]
)  # fmt: skip
def test_ids_that_servers_give(identity: int | str) -> None:
    """Numbers, UUIDs, ULIDs, base64 of URLs and more of the kind."""
    assert parse_remote_id(identity) == str(identity)
    assert has_remote_id_form(str(identity))
