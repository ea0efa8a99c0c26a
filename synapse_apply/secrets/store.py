"""What a run knows of secrets: every value read once, digests under the current key."""

from __future__ import annotations

from threading import Lock

from synapse_apply.model.diagnostic import Path
from synapse_apply.model.values import Mac, SecretRef, Sensitive
from synapse_apply.secrets import macs
from synapse_apply.secrets.keys import Keys
from synapse_apply.secrets.resolve import Resolver


class SecretStore:
    """The `Secrets` port; safe to use from several threads."""

    def __init__(self, resolver: Resolver, keys: Keys | None = None) -> None:
        self._resolver = resolver
        self._keys = keys or Keys()
        self._values: dict[tuple[str, str, str], Sensitive] = {}
        self._lock = Lock()

    @property
    def key_id(self) -> str:
        """Identifies the state key in use; "" when there is none."""
        current = self._keys.current
        return current.key_id if current else ""

    def resolve(self, ref: SecretRef) -> Sensitive:
        """The value, the same one all through a run; SecretUnavailable without it."""
        if ref.source not in ("env", "file"):
            return self._resolver.resolve(ref)
        at = (ref.source, ref.name, ref.format)
        with self._lock:
            if at not in self._values:
                self._values[at] = self._resolver.resolve(ref)
            return self._values[at]

    def resolve_setting(self, ref: SecretRef) -> Sensitive:
        """The value of the project file's own reference; SecretUnavailable without one."""
        return self._resolver.resolve_setting(ref)

    def mac(self, salt: str, path: Path, value: Sensitive) -> Mac | None:
        """Keyed digest of a value in one field of one record; None without a key."""
        current = self._keys.current
        return macs.mac(current, salt, path, value) if current else None

    def matches(self, mac: Mac, salt: str, path: Path, value: Sensitive) -> bool | None:
        """Whether a digest is of this value, under any key at hand; None when its key is not."""
        key = next((key for key in self._keys.known if key.key_id == mac.key_id), None)
        return None if key is None else macs.mac(key, salt, path, value).digest == mac.digest
