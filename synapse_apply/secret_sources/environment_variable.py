"""`{env: NAME}`: which environment variables may be read, and how; `{live: true}`: never read."""

from __future__ import annotations

from fnmatch import fnmatchcase

from synapse_apply.model.json_values import is_encodable_as_utf8
from synapse_apply.model.secrets.secret_rules import is_forbidden_variable
from synapse_apply.model.values import LIVE_SOURCE, SecretRef
from synapse_apply.secret_sources.source import (
    UNAVAILABLE,
    UNUSABLE,
    Denial,
    SecretSource,
    SourceContext,
    raise_unavailable,
)


def find_variable_denial(ref: SecretRef, context: SourceContext) -> Denial | None:
    """Why manifests may not read a variable; None where they may."""
    name = ref.name
    if is_forbidden_variable(name):
        return Denial(
            "Manifests cannot read this variable",
            f"valueFrom may not read {name}: it belongs to synapse-apply or to the CI job",
            "keep the secret in a separate variable",
            reason=f"valueFrom can never read {name}",
            remedy="Manifests may not read tokens of this tool and of CI jobs. Provide the secret "
            "in a variable with a different name.",
        )
    # A manifest must not read the variable of a token, even if `allow_env` matches its name.
    if setting := context.reserved.variables.get(name.upper()):
        return Denial(
            "Manifests cannot read this variable",
            f"valueFrom may not read {name}: {setting} names it, and a manifest could send it to a "
            "server",
            "keep the secret in a separate variable",
            reason=f"valueFrom can never read {name}: {setting} names it",
            remedy="Provide the secret in a separate variable.",
        )
    if family := context.reserved.find_closed_family(name):
        why = f"{family} gives access to {context.reserved.families[family]}"
        return Denial(
            "Manifests cannot read this variable",
            f"valueFrom may not read {name}: {why}, and a manifest could send it to a server",
            f"keep the secret in a variable with a different name. To allow {name}, write its full "
            "name, not a wildcard, to allow_env in the project file that --project-from (a "
            "controller's pin) reads, or in may_read.allow_env in controller.yaml; allow_env in "
            "the checkout itself does not",
            reason=f"valueFrom cannot read {name}: {why}",
        )
    patterns = context.allow_env
    if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns):
        return None
    return Denial(
        "Variable is not allowed",
        f"{name} matches no pattern of allow_env: {', '.join(context.allow_env)}",
        f"add {name} to targets.{context.target}.allow_env",
        reason=f"{name} matches no pattern of the target's allow_env",
        remedy=f"Add {name} to the target's allow_env in the project file.",
        names_target=True,
    )


def _require_variable(ref: SecretRef, context: SourceContext) -> str:
    """The text of a variable; SecretUnavailable if it is not set or not UTF-8."""
    text = context.environ.get(ref.name)
    if text is None:
        raise_unavailable(
            UNAVAILABLE, f"{ref.name} is not set", f"Set the environment variable {ref.name}."
        )
    if not is_encodable_as_utf8(text):
        raise_unavailable(
            UNUSABLE, f"{ref.name} is not UTF-8 text", f"Set {ref.name} to text in UTF-8."
        )
    return text


ENVIRONMENT_VARIABLE = SecretSource(
    name="env",
    example="{valueFrom: {env: NAME}}",
    find_denial=find_variable_denial,
    read_text=_require_variable,
)

LIVE = SecretSource(
    name=LIVE_SOURCE,
    example="{valueFrom: {live: true}}",
    read_text=lambda _ref, _context: raise_unavailable(
        UNAVAILABLE,
        "the value is kept on the server (valueFrom live) and never read from it",
        "Use another source of valueFrom if the value must be sent.",
    ),
    is_read=False,
)
