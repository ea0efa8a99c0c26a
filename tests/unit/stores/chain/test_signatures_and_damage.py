"""What a chain does about damage and forgery, and how a restore goes on behind them."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
import zlib
from uuid import uuid4

import pytest
from contract.stores.samples import entry, record
from unit.stores.chain.chains import Chains, KeySigner, addresses, write_many

from synapse_apply.model.errors import LockLost, StateError
from synapse_apply.stores.chain.link_format import (
    Link,
    LockSign,
    Seal,
    decode_object_of_number,
    encode_link,
    encode_seal,
)
from synapse_apply.stores.database import Batch, RowChange
from synapse_apply.stores.sqlite.sqlite_database import require_origin_of_intact_backup


@pytest.fixture
def chains():
    return Chains()


def forge_last_link(chains, **changes):
    """Somebody without the key changes what the last link says, and keeps its signature."""
    name = chains.names("links")[-1]
    body, signature, _ = read_text(chains, name).split(b"\n")
    document = {**json.loads(body), **changes}
    chains.bucket.contents[name] = json.dumps(document).encode() + b"\n" + signature + b"\n"


def read_text(chains, name):
    """The two lines of an object, compressed or not."""
    content = chains.bucket.contents[name]
    return content if content.startswith(b"{") else zlib.decompress(content)


def ruin(chains, number, content=b"rubbish"):
    """An object is something else."""
    chains.bucket.contents[f"links/{number:012}"] = content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"rubbish",
        b"x\x9crubbish",
        b"[1]\n\n",
        b'{"format": 1}\n\n',
        b'{"format": 1, "number": 4, "kind": "link"}\n\n',
        b'{"format": 1, "number": 4, "kind": ["link"]}\n\n',
        b'{"format": 1, "number": 4, "kind": "seal", "next_folder": -1}\n\n',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_link_is_damage_that_says_where(chains, content):
    """Never a traceback, and what can be read before it is kept by a restore."""
    write_many(chains.make(), 3)
    ruin(chains, 4, content)
    with pytest.raises(StateError, match="damaged") as caught:
        chains.open().read_state()
    assert "links/000000000004" in caught.value.diagnostics[0].detail


def test_a_link_that_does_not_follow_the_one_before_is_damage(chains):
    """A link of another chain, or of another time, in its place."""
    write_many(chains.make(), 3)
    other = Chains()
    write_many(other.make(), 3)
    ruin(chains, 5, other.bucket.contents["links/000000000005"])
    with pytest.raises(StateError, match="damaged") as caught:
        chains.open().read_state()
    assert "links/000000000005 does not follow" in caught.value.diagnostics[0].detail


def test_a_newer_format_is_not_damage(chains, tmp_path):
    """A restore does not begin anew over what a newer version reads."""
    store = chains.make()
    store.write_backup(str(tmp_path / "backup"))
    ruin(chains, 3, b'{"format": 2}\n\n')
    for act in (
        store.read_state,
        lambda: store.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup")),
    ):
        with pytest.raises(StateError, match="newer version"):
            act()
    assert not chains.names("chain-2")


def test_a_restore_passes_by_the_folder_of_an_earlier_one(chains, tmp_path):
    """The seal that led there is ruined: its folder holds links that would be in the way."""
    store = chains.make()
    write_many(store, 3)
    store.write_backup(str(tmp_path / "backup"))
    for _ in range(2):
        last_number = int(chains.names("links")[-1].rpartition("/")[2])
        ruin(chains, last_number)
        fresh = chains.open()
        fresh.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
        write_many(fresh, 2, first=10)
        assert addresses(chains.open()) == ["p0", "p1", "p10", "p11", "p2"]
    assert chains.names("chain-3/links")


def test_a_restore_seals_what_cannot_be_read_and_goes_on_behind_it(chains, tmp_path):
    """Nobody writes on the old end; what could be read is kept; numbers go on."""
    store, late = chains.make(), chains.open()
    write_many(store, 3)
    store.write_backup(str(tmp_path / "backup"))
    write_many(store, 3, first=3)
    held = late.lock("apply")
    held.__enter__()
    last = late.log.last_link_number_and_digest[0]
    ruin(chains, last - 2)
    fresh = chains.open()
    saved_path = fresh.restore_backup_and_return_kept_path_or_empty(
        str(tmp_path / "backup"), kept_path_unless_beside_file=str(tmp_path / "kept")
    )
    assert require_origin_of_intact_backup(saved_path).record_count == 5
    assert addresses(fresh) == addresses(chains.open()) == ["p0", "p1", "p2"]
    assert chains.names("chain-2/links")[0] == f"chain-2/links/{last + 2:012}"
    with pytest.raises(LockLost):
        late.write_records(record("late", "L"))
    write_many(fresh, 2, first=10)
    assert addresses(chains.open()) == ["p0", "p1", "p10", "p11", "p2"]
    # And once more.
    first_behind = chains.names("chain-2/links")[0]
    chains.bucket.contents[first_behind] = b"rubbish"
    chains.open().restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    assert chains.names("chain-3/links")
    assert addresses(chains.open()) == ["p0", "p1", "p2"]


def test_a_restore_that_was_interrupted_behind_the_seal_is_run_again(chains, tmp_path):
    """The old end is sealed, and the new folder is empty."""
    store = chains.make()
    write_many(store, 3)
    store.write_backup(str(tmp_path / "backup"))
    ruin(chains, 4)
    fresh = chains.open()

    def fail():
        raise StateError.from_summary("The connection broke")

    put = fresh.folder.try_put_if_absent_and_tell_if_certain
    fresh.folder.try_put_if_absent_and_tell_if_certain = lambda name, content: (
        fail() if name.startswith("chain-2") else put(name, content)
    )
    with pytest.raises(StateError):
        fresh.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    with pytest.raises(StateError, match="damaged") as caught:
        chains.open().read_state()
    assert "interrupted" in caught.value.diagnostics[0].detail
    chains.open().restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    assert addresses(chains.open()) == ["p0", "p1", "p2"]
    assert not chains.names("chain-3")


def test_who_has_the_key_writes_and_who_has_not_only_looks(chains):
    """A plan says that nothing was verified; with the key nothing is said."""
    write_many(chains.make(KeySigner()), 3)
    knowing, other = chains.open(KeySigner()), chains.open()
    assert addresses(other) == addresses(knowing) == ["p0", "p1", "p2"]
    assert knowing.list_warnings() == ()
    (warning,) = other.list_warnings()
    assert "not verified" in warning.summary
    for stranger in (other, chains.open(KeySigner("another"))):
        with pytest.raises(StateError, match="state key is missing"):
            write_many(stranger, 1, first=9)
    write_many(knowing, 1, first=4)


def test_a_forged_link_stops_every_write_until_a_restore(chains, tmp_path):
    """Whoever may write to the store and has no key cannot point a record at another object."""
    store = chains.make(KeySigner())
    write_many(store, 3)
    store.write_backup(str(tmp_path / "backup"))
    forge_last_link(chains, written={"plans": [["forged", ""]]})
    victim = chains.open(KeySigner())
    assert victim.was_plan_applied("forged")
    (warning,) = victim.list_warnings()
    assert warning.summary == "The state has an entry that is not signed with its key"
    with pytest.raises(StateError, match="not signed with its key"):
        write_many(victim, 1, first=9)
    victim.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    reader = chains.open(KeySigner())
    assert not reader.was_plan_applied("forged")
    assert reader.list_warnings() == ()
    write_many(reader, 1, first=9)


@pytest.mark.parametrize(
    "written",
    [
        [],
        {"records": 5},
        {"records": [["plugin/x", "plugin", "v1", "1"]]},
        {"records": [["plugin/x", "plugin", "v1", ["1"], "{}"]]},
        {"plans": [["\ud800", ""]]},
        {"audit": [[2**70, "", "", ""]]},
        {"meta": [[2, 1, "l", 1, "u", "t", "d", "c", "v", 1]]},
        {"sqlite_master": [["x"]]},
    ],
)
def test_rows_that_fit_no_table_are_damage_that_a_restore_leaves_behind(chains, tmp_path, written):
    """Whether the link shows it by itself, or only where it is carried out."""
    store = chains.make(KeySigner())
    write_many(store, 1)
    store.write_backup(str(tmp_path / "backup"))
    forge_last_link(chains, written=written)
    victim = chains.open(KeySigner())
    with pytest.raises(StateError, match="damaged"):
        victim.read_state()
    victim.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    assert addresses(chains.open(KeySigner())) == ["p0"]


def test_unsigned_links_are_forged_where_there_is_a_key(chains):
    """Else who wants to forge leaves the signature out."""
    write_many(chains.make(KeySigner()), 1)
    name = chains.names("links")[-1]
    body, _, _ = read_text(chains, name).split(b"\n")
    chains.bucket.contents[name] = body + b"\n\n"
    with pytest.raises(StateError, match="not signed with its key"):
        write_many(chains.open(KeySigner()), 1, first=9)


def test_a_forged_seal_leads_nobody_to_another_state_that_is_written(chains, tmp_path):
    """It can only stop writes; a restore leaves it behind."""
    store = chains.make(KeySigner())
    write_many(store, 1)
    store.write_backup(str(tmp_path / "backup"))
    number = store.log.last_link_number_and_digest[0] + 1
    ruin(chains, number, encode_seal(Seal(number, 2), KeySigner("forger")).content)
    stranger = Chains()
    write_many(stranger.make(KeySigner("forger")), 5)
    victim = chains.open(KeySigner())
    with pytest.raises(StateError):
        write_many(victim, 1, first=9)
    victim.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    assert addresses(chains.open(KeySigner())) == ["p0"]


@pytest.mark.parametrize("megabytes", [48, 400])
def test_a_compressed_bomb_is_refused_before_it_takes_memory(chains, megabytes):
    """A thousandth of it is what lies in the bucket; it is not unpacked any further than said."""
    write_many(chains.make(), 3)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(megabytes)) + packer.flush()
    ruin(chains, 4, packed)
    tracemalloc.start()
    try:
        with pytest.raises(StateError, match="damaged") as caught:
            chains.open().read_state()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    detail = caught.value.diagnostics[0].detail
    assert "links/000000000004 unpacks to more than" in detail
    assert peak < 128 * 2**20


def test_what_grows_as_states_do_is_no_bomb():
    """A large link with rows of a real kind, above the size from which bombs are looked for."""
    rows = tuple(
        RowChange("audit", number, (number, "2026-01-31T", "x", str(uuid4()) * 20))
        for number in range(60_000)
    )
    encoded = encode_link(Link(1, "", Batch("b", rows), LockSign()), KeySigner())
    text_bytes = len(zlib.decompress(encoded.content))
    assert len(encoded.content) < text_bytes
    assert text_bytes > 40 * 2**20
    assert decode_object_of_number(encoded.content, 1, KeySigner()).value.batch.changes == rows


@pytest.mark.parametrize("signature", [b"", b"k:00", b"rubbish"])
def test_a_newer_format_counts_where_its_signature_is_genuine(chains, signature):
    """Anybody can write a number: who has no key makes nobody look for a newer version."""
    store = chains.make(KeySigner())
    write_many(store, 1)
    number = store.log.last_link_number_and_digest[0] + 1
    body = b'{"format":99}'
    signer = KeySigner()
    genuine = signer.sign_or_empty_without_key(f"chain 99 {hashlib.sha256(body).hexdigest()}")
    ruin(chains, number, body + b"\n" + genuine.encode() + b"\n")
    with pytest.raises(StateError, match="newer version"):
        chains.open(signer).read_state()
    ruin(chains, number, body + b"\n" + signature + b"\n")
    if signature == b"rubbish":  # of a key that is not at hand: nobody can tell
        with pytest.raises(StateError, match="newer version"):
            chains.open(signer).read_state()
        return
    for act in (
        chains.open(signer).read_state,
        lambda: write_many(chains.open(signer), 1, first=9),
    ):
        with pytest.raises(StateError, match="damaged") as caught:
            act()
        assert "was written without the state key" in caught.value.diagnostics[0].detail


def test_a_backup_of_a_damaged_state_has_what_can_be_read(chains, tmp_path):
    """With its history; the command fails all the same, and says what the file is."""
    store = chains.make()
    with store.lock("apply"):
        for number in range(300):
            store.append_audit_entries(entry(f"p{number}"))
        store.write_records(record("yolo", "Y"))
    write_many(store, 3)
    ruin(chains, store.log.last_link_number_and_digest[0] - 1)
    with pytest.raises(StateError, match="damaged") as caught:
        chains.open().write_backup(str(tmp_path / "backup"))
    assert str(tmp_path / "backup") in caught.value.diagnostics[-1].detail
    other = Chains().open()
    other.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    assert addresses(other) == ["p0", "p1", "yolo"]
    assert len(other.list_audit_entries_newest_first()) == 300


def test_objects_with_huge_numbers_are_no_end_of_the_chain(chains, tmp_path):
    """Whoever may write there can stop the state, and cost neither memory nor what is recorded."""
    store = chains.make()
    write_many(store, 3)
    store.write_backup(str(tmp_path / "backup"))
    chains.bucket.contents["snapshots/999999999999"] = b"rubbish"
    write_many(store, 1, first=4)
    reader = chains.open()
    assert addresses(reader) == ["p0", "p1", "p2", "p4"]
    assert "snapshots/999999999999" in reader.list_warnings()[0].detail
    chains.bucket.contents["links/999999999999"] = b"rubbish"
    with pytest.raises(StateError, match="damaged"):
        chains.open().read_state()
    chains.open().restore_backup_and_return_kept_path_or_empty(str(tmp_path / "backup"))
    write_many(chains.open(), 1, first=5)
    assert addresses(chains.open()) == ["p0", "p1", "p2", "p5"]
