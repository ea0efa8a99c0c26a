"""Which secrets an exported manifest may lack because the server shows none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from synapse_apply.manifests.phrases import VALUE_FROM
from synapse_apply.model.coding.json_types import Spec
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.values import Sensitive, WithheldSecret, flatten


def has_any_secret(specs: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any of these live specs holds a secret, masked or not.

    If so, the server does show secrets, and none is missing elsewhere.
    """
    return any(
        isinstance(value, Sensitive | WithheldSecret)
        for spec in specs
        for value in flatten(spec).values()
    )


def describe_unseen_secrets_or_empty(
    kind: str, spec: Spec, marks: SecretMarks, manifest_fields: Mapping[str, Any]
) -> str:
    """A sentence naming secrets that a live object may have and its manifest lacks; "" for none.

    Only for a server that shows no secrets at all. `manifest_fields` are the manifest's.
    """
    kind_marks = marks.kinds.get(kind)
    if kind_marks is None:
        return ""
    secret_paths = kind_marks.select_spec_marks_all_secret_if_unknown(spec).secret_paths
    configuration = manifest_fields.get(kind_marks.container)
    keys = configuration if isinstance(configuration, Mapping) else {}
    missing_keys = sorted({str(path[-1]) for path in secret_paths or () if path[-1] not in keys})
    if secret_paths is not None and not missing_keys:
        return ""
    secrets_text = ", ".join(missing_keys) if missing_keys else "secrets"
    return (
        f"{secrets_text} may be missing: the server shows no secrets; declare each that it has as "
        f"{{{VALUE_FROM}: {{live: true}}}}"
    )
