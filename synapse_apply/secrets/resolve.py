"""How a reference to a secret becomes its value, within what the target lets manifests read.

And which secrets a run has read: each value once, with digests under the current state key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from threading import Lock
from typing import NamedTuple

from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.secrets.secret_rules import SettingOffer, is_allowed_file
from synapse_apply.model.values import Mac, SecretRef, Sensitive
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES, format_source_names
from synapse_apply.secret_sources.source import (
    FORBIDDEN,
    UNUSABLE,
    RunMemo,
    SecretSource,
    SourceContext,
    find_reserved_denial,
    parse_secret,
    raise_if_denied,
    raise_unavailable,
)
from synapse_apply.secrets.keys import StateKeys
from synapse_apply.secrets.macs import compute_mac


class FoundSetting(NamedTuple):
    """The value of a setting, None without one; `problem` says why, None for an empty value."""

    value: Sensitive | None
    problem: Diagnostic | None = None


class SecretResolver(SourceContext):
    """Reads the value of a SecretRef, again at each call."""

    def close(self) -> None:
        """End what sources began for this run, such as the login to a server."""
        self.memo.close()

    def with_files_from(self, read_committed_file: Callable[[str], bytes | None]) -> SecretResolver:
        """Another one that reads files of the project from another revision; to be closed."""
        return replace(self, read_committed_file=read_committed_file, memo=RunMemo())

    def resolve_secret(self, ref: SecretRef) -> Sensitive:
        """The value of a manifest's `valueFrom`.

        SecretUnavailable if it is missing, empty, not allowed, or not in its format; the detail of
        the diagnostic is a phrase that fits after "not checked:".
        """
        if ref.literal is None:
            source = _require_known_source(ref)
            raise_if_denied(find_reserved_denial(source, ref, self))
            raise_if_denied((source.find_read_denial or source.find_denial)(ref, self))
        return self.resolve_setting(ref)

    def find_place(self, ref: SecretRef) -> str:
        """A digest of where a value comes from: its reference, and the settings of its source.

        "" for a value of the manifest or of a file in the project, which a commit can change.
        """
        is_name = ref.literal is None and _require_known_source(ref).names_file
        file = ref.name if is_name else ref.get_argument_or_empty("file")
        is_in_project = file and is_allowed_file(file, self.root, ())
        if ref.literal is not None or is_in_project:
            return ""
        text = format_canonical_json([ref.identity, self.settings.get(ref.source)])
        return hashlib.sha256(text.encode()).hexdigest()

    def resolve_setting(self, ref: SecretRef) -> Sensitive:
        """The value of a reference in the project file (token, state url), without allow-lists.

        SecretUnavailable as for `resolve_secret`. The project file is the user's own.
        """
        if ref.literal is not None:
            return ref.literal
        text = _require_known_source(ref).read_text(ref, self)
        return parse_secret(text, ref.format, ref.name)

    def resolve_setting_or_reason(self, ref: SecretRef) -> FoundSetting:
        """The value of a reference in the project file, or why it has none on this machine.

        SecretUnavailable for a value that is there and cannot be used.
        """
        source = _require_known_source(ref)
        try:
            text = source.read_text(ref, self)
            # A pipeline's variable that is not defined is empty.
            return FoundSetting(parse_secret(text, ref.format, ref.name) if text.strip() else None)
        except SecretUnavailable as failure:
            if failure.diagnostics[0].summary in {UNUSABLE, FORBIDDEN}:
                raise
            return FoundSetting(None, failure.diagnostics[0])

    def list_setting_offers_by_source(self) -> Mapping[str, tuple[SettingOffer, ...]]:
        """By the name of each source with settings: with which of them its values are read.

        An offer with a reason is not used. Decrypts nothing and asks no server.
        """
        return {
            name: source.list_setting_offers(self)
            for name, source in SECRET_SOURCES.items()
            if name in self.settings
        }

    def ask_for_access(self, name: str) -> str:
        """What a source's server says to the target's login, as a phrase; "" without a server.

        Reads no secret. SecretUnavailable where the login is not accepted.
        """
        return SECRET_SOURCES[name].ask_for_access(self)


def _require_known_source(ref: SecretRef) -> SecretSource:
    """The source of a reference; SecretUnavailable for one that does not exist."""
    source = SECRET_SOURCES.get(ref.source)
    if source is None:
        raise_unavailable(
            UNUSABLE,
            f"valueFrom has no source {ref.source!r}",
            f"The sources are {format_source_names()}.",
        )
    return source


class SecretStore:
    """The `Secrets` port (model/ports.py) of a run: each value is read once; safe for threads."""

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

    def compute_mac(
        self, salt: str, path: FieldPath, value: Sensitive, place: str = ""
    ) -> Mac | None:
        """The keyed digest of a value in one field of one record; None without a key."""
        current = self._keys.current_key
        return compute_mac(current, salt, path, value, place) if current else None

    def matches_mac(self, mac: Mac, salt: str, path: FieldPath, value: Sensitive) -> bool | None:
        """Whether a digest is of this value; None if the key it names is not available."""
        for key in self._keys.all_keys:
            if key.key_id == mac.key_id:
                return compute_mac(key, salt, path, value).digest == mac.digest
        return None
