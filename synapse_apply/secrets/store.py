"""Which secrets a run has read: each value once, and digests under the current state key."""

from __future__ import annotations

from threading import Lock

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.values import Mac, SecretRef, Sensitive
from synapse_apply.secrets import macs
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.secrets.resolve import SecretResolver


class SecretStore:
    """The `Secrets` port (model/ports.py); safe for many threads."""

    def __init__(self, resolver: SecretResolver, keys: StateKeys | None = None) -> None:
        self._resolver = resolver
        self.find_place = resolver.find_place
        self._keys = keys or StateKeys()
        self._values: dict[tuple[str, ...], Sensitive] = {}
        self._lock = Lock()

    @property
    def key_id(self) -> str:
        """The id of the current state key; "" without one."""
        current = self._keys.current_key
        return current.key_id if current else ""

    def resolve_secret(self, ref: SecretRef) -> Sensitive:
        """The value, which is read once and then stays the same during a run; SecretUnavailable."""
        if ref.literal is not None:
            return ref.literal
        cache_key = ref.identity
        # A value must not change during a run, even if its file does.
        with self._lock:
            if cache_key not in self._values:
                self._values[cache_key] = self._resolver.resolve_secret(ref)
            return self._values[cache_key]

    def resolve_setting(self, ref: SecretRef) -> Sensitive:
        """The value of a reference in the project file; SecretUnavailable if it has none."""
        return self._resolver.resolve_setting(ref)

    def compute_mac(
        self, salt: str, path: FieldPath, value: Sensitive, place: str = ""
    ) -> Mac | None:
        """The keyed digest of a value in one field of one record; None without a key."""
        current = self._keys.current_key
        return macs.compute_mac(current, salt, path, value, place) if current else None

    def matches_mac(self, mac: Mac, salt: str, path: FieldPath, value: Sensitive) -> bool | None:
        """Whether a digest is of this value; None if the key it names is not available."""
        for key in self._keys.all_keys:
            if key.key_id == mac.key_id:
                return macs.compute_mac(key, salt, path, value).digest == mac.digest
        return None
