"""`{valueFrom: {sops: {file: PATH, key: A/B/0}}}`: a value of a file that sops has encrypted.

The file is decrypted by the user's own sops, once a run and into memory. Whether its keys are among
those that the target lists is checked before sops starts, and by `validate`, which needs none.
"""

from __future__ import annotations

from synapse_apply.model.diagnostic import parse_json_pointer
from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.secrets.secret_rules import SettingOffer
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.file import find_file_denial
from synapse_apply.secret_sources.source import Denial, SecretSource, SourceContext

NAME = "sops"
_EXAMPLE = "{valueFrom: {sops: {file: secrets/prod.yaml, key: raw-data/secret_access_key}}}"


def _find_denial(ref: SecretRef, context: SourceContext) -> Denial | None:
    """Why a manifest may not name a value of a file, by what the file says without any key."""
    if denial := _find_denial_by_names(ref, context):
        return denial
    if context.read_single_mapping is None:
        return None
    # Here, not above: most projects name no file of sops.
    from synapse_apply.secret_sources.sops.reader import require_encrypted

    try:
        require_encrypted(ref, context)
    except SecretUnavailable as failure:
        finding = failure.diagnostics[0]
        detail, hint = str(finding.detail), str(finding.hint)
        return Denial(str(finding.summary), detail, hint, reason=detail, remedy=hint)
    return None


def _find_denial_by_names(ref: SecretRef, context: SourceContext) -> Denial | None:
    if NAME not in context.settings:
        setting = f"targets.{context.target}.{NAME}" if context.target else f"{NAME} of the target"
        return Denial(
            "Source of secrets is not set up",
            f"valueFrom {NAME} needs {setting}, which lists the keys that files may be encrypted "
            "with",
            "write sops: {age: {env: NAME}} below the target",
            reason=f"the target sets up no {NAME}",
            remedy=f"List the keys under {setting} in the project file.",
            names_target=True,
        )
    return find_file_denial(ref.get_argument_or_empty("file"), context, by_text=True)


def _may_open_same_value(*refs: SecretRef) -> bool:
    """Whether one of two keys is the other, or above it, whatever files they are of.

    sops binds a value to its key path alone, so that it opens in a copy of its file, too: joined by
    colons, and without places in lists.
    """
    keys = (parse_json_pointer(f"/{ref.get_argument_or_empty('key')}") for ref in refs)
    paths = [[part for part in ":".join(key).split(":") if not part.isdecimal()] for key in keys]
    return all(mine == its for mine, its in zip(*paths, strict=False))


def _read_text(ref: SecretRef, context: SourceContext) -> str:
    from synapse_apply.secret_sources.sops.reader import read_decrypted_value

    return read_decrypted_value(ref, context)


def _list_key_offers(context: SourceContext) -> tuple[SettingOffer, ...]:
    from synapse_apply.secret_sources.sops.reader import list_key_offers

    return list_key_offers(context)


SOPS = SecretSource(
    name=NAME,
    example=_EXAMPLE,
    required_keys=("file", "key"),
    format_name=lambda texts: f"{texts['key']} of {texts['file']}",
    find_denial=_find_denial,
    find_read_denial=_find_denial_by_names,
    read_text=_read_text,
    list_setting_offers=_list_key_offers,
    may_share_value=_may_open_same_value,
)
