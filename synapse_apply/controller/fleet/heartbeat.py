"""That a process is alive: its claims, its lead and its line among the processes, renewed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from threading import Event, Thread

from synapse_apply.controller.fleet_rows import ProcessRow
from synapse_apply.controller.loop.clock import SharedClock
from synapse_apply.controller.loop.leading.leader import LEASE_SECONDS
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.store.store_errors import ControllerStoreError, StoreUnavailable
from synapse_apply.controller.store_ports import WritableStore

_BEAT_SECONDS = 2.0
# Every so many beats a process says that it is there, and at first at once.
_BEATS_PER_LINE = 3
# Who was not seen for so long is gone, and forgotten.
_FORGOTTEN_SECONDS = 3600.0
_STOP_SECONDS = 3.0


class Heartbeat:
    """Renews what a process has in a shared store, in a thread of its own, until it is stopped.

    A process that is stopped by a signal renews nothing: others take over what it had.
    """

    def __init__(
        self,
        store: WritableStore,
        clock: SharedClock,
        describe_process: Callable[[], ProcessRow],
        get_lead_epoch: Callable[[], int],
        list_claims: Callable[[], Collection[TargetName]],
    ) -> None:
        """`get_lead_epoch` gives 0 while this process does not lead.

        `list_claims` gives the targets that it works on: no other claim of it is renewed.
        """
        self._store = store
        self._clock = clock
        self._describe_process = describe_process
        self._get_lead_epoch = get_lead_epoch
        self._list_claims = list_claims
        self._is_stopping = Event()
        self._was_away = False
        self.on_return: Callable[[], None] = lambda: None
        """Called when the store answers again after it was away."""
        self.on_failure: Callable[[Exception], None] = lambda _problem: None
        """Called with what ended it: a process without a heartbeat loses what it has."""
        self._thread = Thread(target=self._renew, daemon=True, name="heartbeat")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Renew nothing any more, and take this process from the list of processes."""
        self._is_stopping.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        row = self._describe_process()
        with suppress(ControllerStoreError), self._store.write() as writer:
            writer.release_claims_of_holder(row.holder)
            writer.delete_process(row.holder)

    def _renew(self) -> None:
        beat = 0
        while not self._is_stopping.is_set():
            try:
                self._clock.adjust_to_database()
                now = self._clock.read_wall()
                row = replace(self._describe_process(), seen_at=now)
                self._store.extend_claims_and_leader_lease(
                    row.holder, now + LEASE_SECONDS, self._get_lead_epoch(), self._list_claims()
                )
                if beat % _BEATS_PER_LINE == 0:
                    self._store.put_process_and_delete_unseen_ones(row, now - _FORGOTTEN_SECONDS)
            except StoreUnavailable:
                # The rounds say so.
                self._was_away = True
            except Exception as problem:  # noqa: BLE001 - raised again by the main thread
                self.on_failure(problem)
                return
            else:
                beat += 1
                if self._was_away:
                    self._was_away = False
                    self.on_return()
            self._is_stopping.wait(_BEAT_SECONDS)
