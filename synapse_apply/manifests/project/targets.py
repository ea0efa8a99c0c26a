"""Which target a command means, and where its url, token and tenant come from.

The project file wins. A token is sent only to the host that it was stored for: that of the
login file to the file's host, SYNAPSE_ACCESS_TOKEN to SYNAPSE_HOST where that is set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from synapse_apply.manifests.schema import schemas
from synapse_apply.model.address import matches_pattern
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import (
    find_similar_word,
    format_short_list,
    suggest_words,
)
from synapse_apply.model.project import EMBEDDED, Project, Target, may_name_several_targets
from synapse_apply.model.secrets.login import (
    LOGIN_FILE_LABEL,
    Login,
    SettingOffer,
    have_same_origin,
)
from synapse_apply.model.values import SecretRef

HOST_VARIABLE, TOKEN_VARIABLE, TENANT_VARIABLE = (
    "SYNAPSE_HOST",
    "SYNAPSE_ACCESS_TOKEN",
    "SYNAPSE_TENANT",
)
_NOT_SET = "is not set"
_SET_BUT_NOT_USED = "is set to something else and not used"

ReadLogin = Callable[[], Login | None]


@frozen
class _SettingLookup:
    """A setting's value ("" for none), and every source that was looked at for it."""

    value: str
    offers: tuple[SettingOffer, ...]


def with_url_token_and_tenant_filled(
    target: Target, environ: Mapping[str, str], read_login_file_or_none: ReadLogin
) -> Target:
    """The target with missing settings filled in; `looked_at` lists the sources of each.

    The login file is read only for what nothing else gives. An embedded target stays as it is.
    """
    # The embedded backend runs in this process and has no credentials.
    if target.is_embedded:
        return target
    url = _resolve_url_or_empty(target, environ, read_login_file_or_none)
    token, offers = _resolve_token_reference_or_none(
        target, url.value, environ, read_login_file_or_none
    )
    tenant = _resolve_tenant_or_empty(target, token, environ, read_login_file_or_none)
    offers_by_setting = {"url": url.offers, "token": offers, "tenant": tenant.offers}
    return replace(
        target, url=url.value, token=token, tenant=tenant.value, looked_at=offers_by_setting
    )


def environment_or_login_has_host(
    environ: Mapping[str, str], read_login_file_or_none: ReadLogin
) -> bool:
    """Whether SYNAPSE_HOST or a usable stored login names a backend."""
    stored_login = None if environ.get(HOST_VARIABLE) else read_login_file_or_none()
    return bool(
        environ.get(HOST_VARIABLE)
        or (stored_login and stored_login.url and not stored_login.problem)
    )


def _resolve_url_or_empty(
    target: Target, environ: Mapping[str, str], read_login_file_or_none: ReadLogin
) -> _SettingLookup:
    # The variable is checked only if it is used: a wrong one must not break a complete target.
    declared_url, variable_url = target.url, "" if target.url else parse_host_url_or_empty(environ)
    if declared_url:
        other_url = environ.get(HOST_VARIABLE, "").rstrip("/")
        return _SettingLookup(
            declared_url,
            (
                SettingOffer("url of the target"),
                _build_offer_of_variable_beside_used_value(HOST_VARIABLE, other_url, declared_url),
            ),
        )
    offers = [SettingOffer("url of the target", _NOT_SET)]
    if variable_url:
        return _SettingLookup(variable_url, (*offers, SettingOffer(HOST_VARIABLE)))
    offers.append(SettingOffer(HOST_VARIABLE, _NOT_SET))
    stored_login = read_login_file_or_none()
    reason = _explain_unusable_login_or_empty(stored_login)
    return _SettingLookup(
        stored_login.url if stored_login and not reason else "",
        (*offers, _build_login_offer(stored_login, reason)),
    )


# A token of the environment or of a login is used only for the origin that it was kept for.
# Otherwise a url changed in a pull request, or a variable left from other work, would send it
# elsewhere. Token and host of a login are read at once, so that no other login can come in between.
def _resolve_token_reference_or_none(
    target: Target, url: str, environ: Mapping[str, str], read_login_file_or_none: ReadLogin
) -> tuple[SecretRef | None, tuple[SettingOffer, ...]]:
    variable_token = environ.get(TOKEN_VARIABLE, "")
    if target.token is not None:
        # Reported, since a user who set the variable expects it to be used.
        is_unused = bool(variable_token) and target.token.name != TOKEN_VARIABLE
        unused_offer = (
            SettingOffer(TOKEN_VARIABLE, "is set, too, and not used", unused=True)
            if is_unused
            else None
        )
        target_offer = SettingOffer("token of the target")
        return target.token, (target_offer, unused_offer) if unused_offer else (target_offer,)
    offers = [SettingOffer("token of the target", _NOT_SET)]
    token_host = environ.get(HOST_VARIABLE, "")
    # SYNAPSE_HOST names whose token this is; sent elsewhere, it would be given away.
    if variable_token and (not token_host or have_same_origin(token_host, url)):
        return SecretRef("env", TOKEN_VARIABLE), (*offers, SettingOffer(TOKEN_VARIABLE))
    reason = f"is kept for {HOST_VARIABLE}, which is another host" if variable_token else _NOT_SET
    offers.append(SettingOffer(TOKEN_VARIABLE, reason, unused=bool(variable_token)))
    stored_login = read_login_file_or_none()
    reason = _explain_unusable_login_or_empty(stored_login) or (
        stored_login.no_login_reason if stored_login else ""
    )
    if stored_login and not reason and not have_same_origin(stored_login.url, url):
        reason = f"has a token for {stored_login.url}, which is another host"
    login_reference = (
        SecretRef("login", stored_login.file_label, literal=stored_login.token)
        if stored_login and not reason
        else None
    )
    return login_reference, (*offers, _build_login_offer(stored_login, reason))


def _resolve_tenant_or_empty(
    target: Target,
    token: SecretRef | None,
    environ: Mapping[str, str],
    read_login_file_or_none: ReadLogin,
) -> _SettingLookup:
    """The tenant of the target, the environment, or the login whose token is used."""
    variable_tenant = environ.get(TENANT_VARIABLE, "")
    if target.tenant:
        variable_offer = _build_offer_of_variable_beside_used_value(
            TENANT_VARIABLE, variable_tenant, target.tenant
        )
        return _SettingLookup(target.tenant, (SettingOffer("tenant of the target"), variable_offer))
    offers = [SettingOffer("tenant of the target", _NOT_SET)]
    if variable_tenant:
        return _SettingLookup(variable_tenant, (*offers, SettingOffer(TENANT_VARIABLE)))
    offers.append(SettingOffer(TENANT_VARIABLE, _NOT_SET))
    # A login's tenant belongs to its token, and says nothing of another token.
    stored_login = (
        read_login_file_or_none() if token is not None and token.source == "login" else None
    )
    if stored_login is None or not stored_login.tenant:
        return _SettingLookup("", tuple(offers))
    return _SettingLookup(stored_login.tenant, (*offers, SettingOffer(stored_login.file_label)))


def _build_offer_of_variable_beside_used_value(
    name: str, variable_value: str, used_value: str
) -> SettingOffer:
    """What is said of a variable where the project file gives the setting."""
    if not variable_value:
        return SettingOffer(name, _NOT_SET)
    return SettingOffer(
        name,
        "says the same" if variable_value == used_value else _SET_BUT_NOT_USED,
        unused=variable_value != used_value,
    )


def _explain_unusable_login_or_empty(login: Login | None) -> str:
    """Why nothing of a login can be used, "" where it can; quotes nothing of the file."""
    if login is None:
        return "is not there"
    if login.problem:
        return f"cannot be used: {login.problem}"
    if not schemas.is_valid_target_url(login.url):
        return "cannot be used: its host is no http or https URL, or has credentials in it"
    return ""


def _build_login_offer(login: Login | None, reason: str) -> SettingOffer:
    return SettingOffer(
        login.file_label if login else LOGIN_FILE_LABEL, reason, unused=bool(login and reason)
    )


def parse_host_url_or_empty(environ: Mapping[str, str]) -> str:
    """SYNAPSE_HOST without a last slash, "" if unset; raises InputError for an invalid URL.

    The rules are those of the project file's `url`.
    """
    url = environ.get(HOST_VARIABLE, "").rstrip("/")
    if url and not schemas.is_valid_target_url(url):
        raise InputError.from_summary(
            f"{HOST_VARIABLE} cannot be used",
            "it is not an http or https URL, or has credentials in it",
            f"set it to a URL such as https://api.synapse.sh; the token goes into {TOKEN_VARIABLE}",
        )
    return url


_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def list_declared_targets(project: Project) -> tuple[Target, ...]:
    """The targets that the project file declares, in its order."""
    return tuple(target for target in project.targets.values() if target.position is not None)


def list_declared_target_names(project: Project) -> list[str]:
    """Their names; makes no target but the embedded one, which need not be declared."""
    return [
        name
        for name in project.targets
        if name != EMBEDDED or project.targets[EMBEDDED].position is not None
    ]


def read_no_login() -> None:
    """Return None: the login reader of commands that use no stored login."""


def choose_and_fill_target(
    project: Project,
    name: str | None,
    environ: Mapping[str, str],
    is_interactive: bool,
    read_login_file_or_none: ReadLogin = read_no_login,
) -> Target:
    """The target of a command, missing settings filled from the environment and a login.

    Raises InputError where the name is unknown, or none was given and the choice is not clear.
    """
    return with_url_token_and_tenant_filled(
        _choose_unfilled_target(project, name, environ, is_interactive, read_login_file_or_none),
        environ,
        read_login_file_or_none,
    )


def select_targets_to_check(project: Project, name: str | None) -> tuple[Target, ...]:
    """The targets that `validate` checks: the named one, else the declared ones, else embedded."""
    if name:
        return (_require_named_or_environment_target(project, name, {}),)
    # Without an environment: checking manifests needs no credentials.
    return list_declared_targets(project) or (
        _require_named_or_environment_target(project, EMBEDDED, {}),
    )


def _choose_unfilled_target(
    project: Project,
    name: str | None,
    environ: Mapping[str, str],
    is_interactive: bool,
    read_login_file_or_none: ReadLogin,
) -> Target:
    if name:
        return _require_named_or_environment_target(project, name, environ, read_login_file_or_none)
    if project.default_target:
        return _require_named_or_environment_target(
            project, project.default_target, environ, read_login_file_or_none
        )
    declared = list_declared_target_names(project)
    if len(declared) == 1:
        return project.targets[declared[0]]
    if declared:
        names = format_short_list(declared)
        raise InputError.from_summary(
            "Which target?",
            f"the project has {len(declared)} targets: {names}",
            "pass --target NAME, or set default_target in synapse-apply.yaml",
        )
    set_variables = [
        variable for variable in (HOST_VARIABLE, TOKEN_VARIABLE) if environ.get(variable)
    ]
    # Set variables mean that a real backend was intended, and a pipeline must never guess.
    if is_interactive and not set_variables:
        return _require_named_or_environment_target(project, EMBEDDED, environ)
    reason = f"{' and '.join(set_variables)} set" if set_variables else "not on a terminal"
    raise InputError.from_summary(
        "Which target?",
        f"no target is declared, and the embedded backend is not assumed ({reason})",
        f"pass --target {EMBEDDED}, or declare a target in synapse-apply.yaml",
    )


def _require_named_or_environment_target(
    project: Project,
    name: str,
    environ: Mapping[str, str],
    read_login_file_or_none: ReadLogin = read_no_login,
) -> Target:
    if name in project.targets:
        return project.targets[name]
    if name == EMBEDDED:
        return Target(EMBEDDED)
    if (
        _NAME_PATTERN.fullmatch(name)
        and not list_declared_target_names(project)
        and environment_or_login_has_host(environ, read_login_file_or_none)
    ):
        # Without declared targets the environment describes the backend; any name may be given to
        # it.
        return Target(name)
    known_names = [*list_declared_target_names(project), EMBEDDED]
    raise InputError.from_summary(
        "Unknown target",
        f"there is no target `{name}`",
        suggest_words(name, known_names),
    )


def select_target_names(project: Project, selectors: Sequence[str]) -> tuple[str, ...]:
    """The targets that any of the selectors means, each once; InputError for all that mean none.

    A selector is a name, a pattern with `*`, a label as KEY=VALUE, or several of these with commas
    between, all of which must hold. Targets come in the order of the selectors, and of one pattern
    by name. A pattern means declared targets only.
    """
    selected: dict[str, None] = {}
    findings: list[Diagnostic] = []
    for selector in selectors:
        names = sorted(_iter_matching_names(project, selector))
        if not names:
            findings.append(_build_no_match_finding(project, selector))
        selected.update(dict.fromkeys(names))
    if findings:
        raise InputError(*findings)
    return tuple(selected)


def list_target_labels(project: Project) -> list[str]:
    """Every label of a declared target, as KEY=VALUE."""
    targets = (project.targets[name] for name in list_declared_target_names(project))
    return sorted({f"{key}={value}" for target in targets for key, value in target.labels.items()})


def _iter_matching_names(project: Project, selector: str) -> Iterator[str]:
    if selector == EMBEDDED:
        yield EMBEDDED
        return
    conditions = selector.split(",")
    for name in list_declared_target_names(project):
        if all(_holds_for_target(project, name, condition) for condition in conditions):
            yield name


def _holds_for_target(project: Project, name: str, condition: str) -> bool:
    key, equals, value = condition.partition("=")
    if not equals:
        return matches_pattern(name, condition)
    labels = project.targets[name].labels
    return key in labels and matches_pattern(labels[key], value)


def _build_no_match_finding(project: Project, selector: str) -> Diagnostic:
    names = [*list_declared_target_names(project), EMBEDDED]
    if not may_name_several_targets(selector):
        return error_finding(
            "Unknown target",
            f"there is no target `{selector}`",
            suggest_words(selector, names),
        )
    known_words = [*names, *list_target_labels(project)]
    match = find_similar_word(selector.replace("*", ""), known_words)
    return error_finding(
        "No target matches",
        f"of {len(names) - 1:,} declared targets none matches `{selector}`",
        f"did you mean `{match}`?" if match else suggest_words("", known_words),
    )
