"""Pages of a list are what lies between their ends, whatever was written and asked before."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_apply.emulator.core.store import ObjectQuery, ObjectStore

TENANTS = ("a", "b", "*")
STEPS = st.one_of(
    st.tuples(st.just("insert"), st.sampled_from(TENANTS)),
    st.tuples(st.just("delete"), st.integers(1, 12)),
    st.tuples(st.just("undo"), st.sampled_from(TENANTS)),
    st.tuples(st.just("page"), st.integers(0, 4)),
)
LISTS = (
    ObjectQuery(),
    ObjectQuery("a"),
    ObjectQuery("a", newest_first=True),
    ObjectQuery("b", start_after_id=3),
    ObjectQuery("a", parent=1),
)


def all_of(store: ObjectStore, wanted: ObjectQuery) -> list[int]:
    """The ids of a list, without any page."""
    return [row.id for row in store.iter_objects("storage", wanted)]


@settings(deadline=None)
@given(st.lists(STEPS, max_size=30), st.integers(1, 4))
def test_a_page_is_a_piece_of_the_whole(steps: list[tuple[str, object]], size: int) -> None:
    """Inserts, deletes and what is undone in between change no more than they should."""
    with TemporaryDirectory() as folder, ExitStack() as opened:
        store = opened.enter_context(closing(ObjectStore(Path(folder) / "data.sqlite3")))
        for step, value in steps:
            if step == "insert":
                store.insert("storage", str(value), {}, created=0.0, parent=1)
            elif step == "delete":
                store.delete("storage", int(str(value)))
            elif step == "undo":
                with store.transaction(roll_back=True):
                    store.insert("storage", str(value), {}, created=0.0)
                    for wanted in LISTS:
                        assert store.count("storage", wanted) == len(all_of(store, wanted))
            else:
                offset = int(str(value)) * size
                for wanted in LISTS:
                    whole = all_of(store, wanted)
                    page = store.select("storage", wanted, limit=size, offset=offset)
                    assert [row.id for row in page] == whole[offset : offset + size]
                    assert store.count("storage", wanted) == len(whole)


def test_another_process_writes_too(tmp_path: Path) -> None:
    """What it wrote is seen in the next page and count."""
    file = tmp_path / "data.sqlite3"
    with closing(ObjectStore(file)) as ours, closing(ObjectStore(file)) as theirs:
        see_each_other(ours, theirs)


def see_each_other(ours: ObjectStore, theirs: ObjectStore) -> None:
    """One list, one count, whoever writes."""
    for _ in range(4):
        ours.insert("storage", "a", {}, created=0.0)
    assert [row.id for row in ours.select("storage", ObjectQuery("a"), limit=2, offset=2)] == [3, 4]
    assert ours.count("storage", ObjectQuery("a")) == 4
    theirs.delete("storage", 1)
    assert [row.id for row in ours.select("storage", ObjectQuery("a"), limit=2, offset=2)] == [4]
    assert ours.count("storage", ObjectQuery("a")) == 3
