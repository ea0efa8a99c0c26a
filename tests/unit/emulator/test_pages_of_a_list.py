"""Pages of a list are what lies between their ends, whatever was written and asked before."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_apply.emulator.core.store import Store, Wanted

TENANTS = ("a", "b", "*")
STEPS = st.one_of(
    st.tuples(st.just("insert"), st.sampled_from(TENANTS)),
    st.tuples(st.just("delete"), st.integers(1, 12)),
    st.tuples(st.just("undo"), st.sampled_from(TENANTS)),
    st.tuples(st.just("page"), st.integers(0, 4)),
)
LISTS = (
    Wanted(),
    Wanted("a"),
    Wanted("a", newest_first=True),
    Wanted("b", beyond=3),
    Wanted("a", parent=1),
)


def all_of(store: Store, wanted: Wanted) -> list[int]:
    """The ids of a list, without any page."""
    return [row.id for row in store.walk("storage", wanted)]


@settings(deadline=None)
@given(st.lists(STEPS, max_size=30), st.integers(1, 4))
def test_a_page_is_a_piece_of_the_whole(steps: list[tuple[str, object]], size: int) -> None:
    """Inserts, deletes and what is undone in between change no more than they should."""
    with TemporaryDirectory() as folder, ExitStack() as opened:
        store = opened.enter_context(closing(Store(Path(folder) / "data.sqlite3")))
        for step, value in steps:
            if step == "insert":
                store.insert("storage", str(value), {}, created=0.0, parent=1)
            elif step == "delete":
                store.delete("storage", int(str(value)))
            elif step == "undo":
                with store.transaction(undone=True):
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
    with closing(Store(file)) as ours, closing(Store(file)) as theirs:
        see_each_other(ours, theirs)


def see_each_other(ours: Store, theirs: Store) -> None:
    """One list, one count, whoever writes."""
    for _ in range(4):
        ours.insert("storage", "a", {}, created=0.0)
    assert [row.id for row in ours.select("storage", Wanted("a"), limit=2, offset=2)] == [3, 4]
    assert ours.count("storage", Wanted("a")) == 4
    theirs.delete("storage", 1)
    assert [row.id for row in ours.select("storage", Wanted("a"), limit=2, offset=2)] == [4]
    assert ours.count("storage", Wanted("a")) == 3
