"""How a reference to a secret becomes its value, within what the target lets manifests read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.secrets.secret_rules import SettingOffer, is_allowed_file
from synapse_apply.model.values import SecretRef, Sensitive
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES, format_source_names
from synapse_apply.secret_sources.source import (
    FORBIDDEN,
    UNUSABLE,
    SecretSource,
    SourceContext,
    find_reserved_denial,
    parse_secret,
    raise_if_denied,
    raise_unavailable,
)


class FoundSetting(NamedTuple):
    """The value of a setting, None without one; `problem` says why, None for an empty value."""

    value: Sensitive | None
    problem: Diagnostic | None = None


class SecretResolver(SourceContext):
    """Reads the value of a SecretRef, again at each call."""

    def close(self) -> None:
        """End what sources began for this run, such as the login to a server."""
        self.memo.close()

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
