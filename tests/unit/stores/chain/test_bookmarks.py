"""Who remembers where a chain ended sees that it was deleted, cut off or written anew since."""

from __future__ import annotations

import pytest
from contract.stores.samples import BINDING, LINEAGE

from synapse_apply.model.errors import StateError
from synapse_apply.stores.chain.link_format import build_link_name
from synapse_apply.stores.database import UnsignedStateSigner

from .chains import Chains, KeySigner, addresses, write_many

SET_BACK = "The state was rolled back"


def reopen(chains, bookmark):
    """Another process on a machine that remembers."""
    store = chains.open()
    store.require_continuation_in_reads(bookmark)
    return store


def cut_off(chains, first):
    """Remove the links from a number on, and all snapshots that have them."""
    for name in list(chains.bucket.contents):
        if int(name[-12:]) >= first:
            del chains.bucket.contents[name]


def test_a_chain_that_went_on_is_believed_at_no_cost():
    """The links that are read anyway tell; so does the last one before a snapshot, beside it."""
    chains = Chains()
    store = chains.make()
    write_many(store, 3)
    bookmark = store.bookmark
    for count in (3, 250):
        write_many(store, count, first=10)
        plain, remembering = chains.open(), reopen(chains, bookmark)
        assert addresses(remembering) == addresses(plain)
        assert remembering.folder.round_trips == plain.folder.round_trips
    chains.bucket.now += 10 * chains.prune_age
    write_many(store, 500, first=500)
    assert build_link_name(1, int(bookmark.split(":")[1])) not in chains.bucket.contents
    assert addresses(reopen(chains, bookmark)) == addresses(store)


@pytest.mark.parametrize("text", ["", "x", "1:2", "0:0:", "1:x:abc", "²:1:abc", "1:0:abc"])
def test_what_is_no_bookmark_requires_nothing(text):
    chains = Chains()
    chains.make()
    assert reopen(chains, text).exists()
    assert not reopen(Chains(), text).exists()


def test_what_is_not_verified_is_no_place_to_remember():
    """Whoever removes what somebody has forged does not set the state back."""
    chains = Chains()
    write_many(chains.make(KeySigner()), 1)
    without_key, with_other_key = (
        chains.open(UnsignedStateSigner()),
        chains.open(KeySigner("other")),
    )
    for store in (without_key, with_other_key):
        store.read_serial()
        assert store.bookmark == ""
    genuine = chains.open(KeySigner())
    genuine.read_serial()
    assert genuine.bookmark


def test_a_chain_that_was_cut_off_goes_on_behind_a_seal():
    """An error to who remembers, until a restore; nobody who remembers less is in its way."""
    chains = Chains()
    store = chains.make()
    write_many(store, 2)
    early = store.bookmark
    write_many(store, 2, first=2)
    late = store.bookmark
    cut_off(chains, int(early.split(":")[1]) + 1)
    assert addresses(reopen(chains, early)) == ["p0", "p1"]
    with pytest.raises(StateError, match=SET_BACK):
        reopen(chains, late).read_state()


@pytest.mark.parametrize("links", [2, 210])
def test_a_chain_that_was_written_anew_from_a_place_on(links, tmp_path):
    """The number is there again, and more: its digest is another."""
    chains = Chains()
    store = chains.make()
    write_many(store, 2)
    early = store.bookmark
    write_many(store, 2, first=2)
    late = store.bookmark
    backup = tmp_path / "backup.db"
    store.write_backup(str(backup))
    cut_off(chains, int(early.split(":")[1]) + 1)
    write_many(chains.open(), links, first=100)
    assert "p100" in addresses(reopen(chains, early))
    with pytest.raises(StateError, match=SET_BACK):
        reopen(chains, late).read_state()
    kept = tmp_path / "kept.db"
    with pytest.raises(StateError, match=SET_BACK):
        reopen(chains, late).write_backup(str(kept))
    assert kept.exists()
    reopen(chains, late).restore_backup_and_return_kept_path_or_empty(str(backup))
    for bookmark in (early, late, ""):
        assert addresses(reopen(chains, bookmark)) == ["p0", "p1", "p2", "p3"]


@pytest.mark.parametrize("restores", [True, False])
def test_numbers_go_on_where_all_was_deleted(restores, tmp_path):
    """After a restore, and after an empty state of the same lineage."""
    chains = Chains()
    store = chains.make()
    write_many(store, 2)
    store.restore_backup_and_return_kept_path_or_empty(write_backup(store, tmp_path / "first.db"))
    bookmark, backup = store.bookmark, write_backup(store, tmp_path / "backup.db")
    chains.bucket.contents.clear()
    late = reopen(chains, bookmark)
    assert not late.exists()
    with pytest.raises(StateError, match=SET_BACK) as raised:
        late.read_state()
    assert "now the folder is empty" in raised.value.diagnostics[0].detail
    if restores:
        late.restore_backup_and_return_kept_path_or_empty(backup)
    else:
        late.create_state(BINDING, LINEAGE)
    assert int(late.bookmark.split(":")[1]) > int(bookmark.split(":")[1])
    for remembered in (bookmark, late.bookmark, ""):
        assert addresses(reopen(chains, remembered)) == (["p0", "p1"] if restores else [])


def write_backup(store, path):
    store.write_backup(str(path))
    return str(path)
