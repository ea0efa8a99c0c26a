"""What a state needs of a folder, on each store that there is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from buckets.folders import open_folder_at
from buckets.servers import AZURITE

from synapse_apply.stores.bucket.bucket_probe import require_suitable_bucket

# moto takes four seconds to hold so many.
PAGING_STORES = ["seaweed", *(["azurite"] if AZURITE else [])]


def names(folder, prefix, after=""):
    """What is listed."""
    return [found.name for found in folder.list_objects(prefix, after)]


def test_an_object_is_made_once_and_keeps_its_first_content(folder):
    """Whoever comes second is not told that it made it."""
    assert folder.try_put_if_absent_and_tell_if_certain("links/1", b"first")
    assert not folder.try_put_if_absent_and_tell_if_certain("links/1", b"second")
    assert folder.get_or_none_if_absent("links/1") == b"first"
    assert folder.get_or_none_if_absent("links/2") is None


def test_of_many_at_once_one_makes_it(folder):
    """And its content is what everybody reads."""
    contents = [f"{number}".encode() for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        made = list(
            pool.map(
                lambda content: folder.try_put_if_absent_and_tell_if_certain("links/1", content),
                contents,
            )
        )
    assert made.count(True) == 1
    assert folder.get_or_none_if_absent("links/1") == contents[made.index(True)]


def test_a_list_is_sorted_begins_behind_a_name_and_keeps_to_its_prefix(folder):
    """Also where a prefix ends inside a name, and beside a folder of a longer name."""
    for name in ("links/10", "links/09", "links/2", "links-2/1", "snapshots/1"):
        assert folder.try_put_if_absent_and_tell_if_certain(name, name.encode())
    assert names(folder, "links/") == ["links/09", "links/10", "links/2"]
    assert names(folder, "links/1") == ["links/10"]
    assert names(folder, "links/", after="links/09") == ["links/10", "links/2"]
    assert names(folder, "links/", after="links/3") == []
    assert names(folder, "audit/") == []
    found = next(folder.list_objects("links/"))
    assert (found.name, found.size) == ("links/09", 8)
    assert 0 <= found.age_seconds < 60


@pytest.mark.parametrize("store", PAGING_STORES, indirect=True)
def test_a_list_of_more_than_one_page_is_complete(folder):
    """Stores list at most a thousand at a time."""
    expected = [f"links/{number:04}" for number in range(1100)]
    with ThreadPoolExecutor(16) as pool:
        assert all(
            pool.map(
                lambda name: folder.try_put_if_absent_and_tell_if_certain(name, b"x"), expected
            )
        )
    assert names(folder, "links/") == expected
    assert names(folder, "links/", after=expected[1050]) == expected[1051:]


def test_many_are_read_in_their_order(folder):
    """With None for each that is not there."""
    for number in range(0, 40, 2):
        folder.try_put_if_absent_and_tell_if_certain(f"links/{number}", f"{number}".encode())
    read = folder.get_objects_or_none_in_order([f"links/{number}" for number in range(40)])
    assert read == [None if number % 2 else f"{number}".encode() for number in range(40)]


def test_what_is_deleted_is_gone_and_its_name_is_free(folder):
    """Also what never was there counts as deleted."""
    for name in ("links/1", "links/2", "links/3"):
        folder.try_put_if_absent_and_tell_if_certain(name, b"x")
    assert folder.delete_and_count_undeleted(["links/1", "links/3", "links/7"]) == 0
    assert names(folder, "links/") == ["links/2"]
    assert folder.try_put_if_absent_and_tell_if_certain("links/1", b"anew")


def test_two_folders_share_nothing(store):
    """Not even where one is inside of the other."""
    outer = open_folder_at(store.url("outer"), store.environ)
    inner = open_folder_at(store.url("outer/links"), store.environ)
    try:
        inner.try_put_if_absent_and_tell_if_certain("links/1", b"inner")
        assert outer.get_or_none_if_absent("links/1") is None
        assert inner.get_or_none_if_absent("links/1") == b"inner"
    finally:
        outer.close()
        inner.close()


def test_it_can_hold_a_state(folder):
    """The probe leaves nothing behind."""
    assert require_suitable_bucket(folder)
    assert names(folder, "probe/") == []
