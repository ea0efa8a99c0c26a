"""Lists that change at any moment while their pages are read, one by one or side by side."""

from __future__ import annotations

import json
from threading import Lock
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synapse_apply import ClientError
from synapse_apply.client.calls import ClientCall
from synapse_apply.client.dialects import V1
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.lists import ListQuery, read_list_once, reread_list_until_complete
from synapse_apply.model.errors import NotFound

SIZE = 3


class Changing:
    """Numbered pages of three; before each is answered the next of `changes` happens."""

    def __init__(self, count: int, changes: list[int], *, newest_first: bool) -> None:
        self.ids = list(range(count))
        self.always = set(self.ids)
        self._changes = iter(changes)
        self._next_id = count
        self._newest_first = newest_first
        self._lock = Lock()
        self.asked = 0

    def fetch(self, call: ClientCall) -> Answer:
        with self._lock:
            self.asked += 1
            self._change()
            return self._page(int(dict(call.query).get("page", 1)))

    def _change(self) -> None:
        """Up to two changes at once: 0 is none, -1 stores one, n deletes the n-th."""
        for _ in range(2):
            change = next(self._changes, 0)
            if change < 0:
                self.ids.append(self._next_id)
                self._next_id += 1
            elif change and self.ids:
                self.always.discard(self.ids.pop((change - 1) % len(self.ids)))

    def _page(self, number: int) -> Answer:
        listed = self.ids[::-1] if self._newest_first else self.ids
        last = max(1, -(-len(listed) // SIZE))
        if number > last:
            raise NotFound("Invalid page.", status_code=404)
        more = f"?page_size=100&page={number + 1}" if number < last else None
        items = [{"id": one} for one in listed[(number - 1) * SIZE : number * SIZE]]
        body: dict[str, Any] = {"count": len(listed), "next": more, "results": items}
        return Answer(200, {}, json.dumps(body).encode())

    def listing(self, width: int) -> ListQuery:
        return ListQuery(self.fetch, V1, "storages/", {}, width)


@settings(deadline=None)
@given(
    count=st.integers(0, 14),
    changes=st.lists(st.integers(-1, 14), max_size=24),
    newest_first=st.booleans(),
    width=st.sampled_from([1, 4]),
)
def test_nothing_that_was_there_all_the_time_is_missing(count, changes, newest_first, width):
    """Or the list is refused; never an item less, however pages shift under the reading."""
    server = Changing(count, changes, newest_first=newest_first)
    try:
        found = reread_list_until_complete(server.listing(width), 1000)
    except ClientError:
        return
    ids = [item["id"] for item in found]
    assert server.always <= set(ids)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("most", "use"), [(4, True), (10, False)])
def test_a_glance_that_is_not_worth_it_ends_at_the_first_page(most, use):
    """More pages than it may cost, or items of no use."""
    server = Changing(14, [], newest_first=False)
    assert read_list_once(server.listing(4), most, lambda _items: use) is None
    assert server.asked == 1
