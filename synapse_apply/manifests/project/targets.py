"""Which target a command means, and where its url, token and tenant come from.

The project file wins. A token is sent only to the host that it was stored for: that of the
login file to the file's host, SYNAPSE_ACCESS_TOKEN to SYNAPSE_HOST where that is set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from synapse_apply.manifests import schemas
from synapse_apply.model.address import matches_pattern, matches_selector
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import find_similar_word, format_short_list, suggest_words
from synapse_apply.model.project import EMBEDDED, Project, Target, may_name_several_targets
from synapse_apply.model.secrets.secret_rules import (
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
# Old pages of the vendor name it; none of the vendor's tools reads it.
_FORMER_TOKEN_VARIABLE = "SYNAPSE_API_TOKEN"  # noqa: S105 - the name of a variable
_NOT_SET = "is not set"

ReadLogin = Callable[[], Login | None]


def fill_settings(target: Target, environ: Mapping[str, str], read_login: ReadLogin) -> Target:
    """The target with missing settings filled in; `looked_at` lists the sources of each.

    The login file is read only for what nothing else gives. An embedded target stays as it is.
    """
    # The embedded backend runs in this process and has no credentials.
    if target.is_embedded:
        return target
    sources = _SettingSources(target, environ, read_login)
    url = sources.url()
    token = sources.token(url)
    tenant = sources.tenant(token)
    looked_at = {setting: tuple(offers) for setting, offers in sources.offers.items()}
    return replace(target, url=url, token=token, tenant=tenant, looked_at=looked_at)


def names_host(environ: Mapping[str, str], read_login: ReadLogin) -> bool:
    """Whether SYNAPSE_HOST or a usable stored login names a backend."""
    stored_login = None if environ.get(HOST_VARIABLE) else read_login()
    return bool(
        environ.get(HOST_VARIABLE)
        or (stored_login and stored_login.url and not stored_login.problem)
    )


class _SettingSources:
    """Looks for the settings of one target; `offers` are the sources looked at, by setting."""

    def __init__(self, target: Target, environ: Mapping[str, str], read_login: ReadLogin) -> None:
        self._target = target
        self._environ = environ
        self._read_login = read_login
        self.offers: dict[str, list[SettingOffer]] = {"url": [], "token": [], "tenant": []}

    def url(self) -> str:
        """The url of the target, the environment or a login; "" for none."""
        offers, declared = self.offers["url"], self._target.url
        if declared:
            other_url = self._environ.get(HOST_VARIABLE, "").rstrip("/")
            beside = _offer_beside(HOST_VARIABLE, other_url, declared)
            offers += (SettingOffer("url of the target"), beside)
            return declared
        # The variable is checked only if it is used: a wrong one must not break a complete target.
        url = parse_host_url_or_empty(self._environ)
        offers.append(SettingOffer("url of the target", _NOT_SET))
        offers.append(SettingOffer(HOST_VARIABLE, "" if url else _NOT_SET))
        if url:
            return url
        login = self._read_login()
        reason = _why_unusable(login)
        offers.append(_login_offer(login, reason))
        return login.url if login and not reason else ""

    # A token of the environment or of a login is used only for the origin that it was kept for.
    # Otherwise a url changed in a pull request, or a variable left from other work, would send it
    # elsewhere. Token and host of a login are read at once, so that no other login can come in
    # between.
    def token(self, url: str) -> SecretRef | None:
        """The token of the target, the environment or a login, of which only that for the url."""
        offers, variable_token = self.offers["token"], self._environ.get(TOKEN_VARIABLE, "")
        if (declared := self._target.token) is not None:
            offers.append(SettingOffer("token of the target"))
            # Reported, since a user who set the variable expects it to be used.
            if variable_token and declared.name != TOKEN_VARIABLE:
                text = "is also set, but not used"
                offers.append(SettingOffer(TOKEN_VARIABLE, text, unused=True))
            return declared
        offers.append(SettingOffer("token of the target", _NOT_SET))
        token_host = self._environ.get(HOST_VARIABLE, "")
        # SYNAPSE_HOST names whose token this is; sent elsewhere, it would be given away.
        if variable_token and (not token_host or have_same_origin(token_host, url)):
            offers.append(SettingOffer(TOKEN_VARIABLE))
            return SecretRef("env", TOKEN_VARIABLE)
        reason = _NOT_SET
        if variable_token:
            reason = f"is not used: it belongs to {HOST_VARIABLE}, which is another host"
        offers.append(SettingOffer(TOKEN_VARIABLE, reason, unused=bool(variable_token)))
        if self._environ.get(_FORMER_TOKEN_VARIABLE):
            text = f"is set and not read: the vendor's tools read {TOKEN_VARIABLE}"
            offers.append(SettingOffer(_FORMER_TOKEN_VARIABLE, text, unused=True))
        login = self._read_login()
        reason = _why_unusable(login) or (login.no_login_reason if login else "")
        if login and not reason and not have_same_origin(login.url, url):
            reason = f"has a token for {login.url}, which is another host"
        offers.append(_login_offer(login, reason))
        if login is None or reason:
            return None
        return SecretRef("login", login.file_label, literal=login.token)

    def tenant(self, token: SecretRef | None) -> str:
        """The tenant of the target, the environment, or the login whose token is used."""
        offers, variable_tenant = self.offers["tenant"], self._environ.get(TENANT_VARIABLE, "")
        if declared := self._target.tenant:
            beside = _offer_beside(TENANT_VARIABLE, variable_tenant, declared)
            offers += (SettingOffer("tenant of the target"), beside)
            return declared
        offers.append(SettingOffer("tenant of the target", _NOT_SET))
        offers.append(SettingOffer(TENANT_VARIABLE, "" if variable_tenant else _NOT_SET))
        if variable_tenant:
            return variable_tenant
        # A login's tenant belongs to its token, and says nothing of another token.
        login = self._read_login() if token is not None and token.source == "login" else None
        if login is None or not login.tenant:
            return ""
        offers.append(SettingOffer(login.file_label))
        return login.tenant


def _offer_beside(name: str, variable_value: str, used_value: str) -> SettingOffer:
    """What is said of a variable where the project file gives the setting."""
    if not variable_value:
        return SettingOffer(name, _NOT_SET)
    if variable_value == used_value:
        return SettingOffer(name, "has the same value")
    return SettingOffer(name, "has another value and is not used", unused=True)


def _why_unusable(login: Login | None) -> str:
    """Why nothing of a login can be used, "" where it can; quotes nothing of the file."""
    if login is None:
        return "is not there"
    if login.problem:
        return f"cannot be used: {login.problem}"
    if not schemas.is_valid_target_url(login.url):
        return "cannot be used: its host is not an http or https URL, or contains credentials"
    return ""


def _login_offer(login: Login | None, reason: str) -> SettingOffer:
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
            "it is not an http or https URL, or contains credentials",
            f"set it to a URL such as https://api.synapse.sh. Set the token in {TOKEN_VARIABLE}",
        )
    return url


_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def list_declared_targets(project: Project) -> tuple[Target, ...]:
    """The targets that the project file declares, in its order."""
    return tuple(target for target in project.targets.values() if target.position is not None)


def declared_target_names(project: Project) -> list[str]:
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
    read_login: ReadLogin = read_no_login,
) -> Target:
    """The target of a command, missing settings filled from the environment and a login.

    Raises InputError where the name is unknown, or none was given and the choice is not clear.
    """
    target = _choose_target(project, name, environ, is_interactive, read_login)
    return fill_settings(target, environ, read_login)


def select_targets_to_check(project: Project, name: str | None) -> tuple[Target, ...]:
    """The targets that `validate` checks: the named one, else the declared ones, else embedded."""
    if name:
        return (_require_target(project, name, {}),)
    # Without an environment: checking manifests needs no credentials.
    return list_declared_targets(project) or (_require_target(project, EMBEDDED, {}),)


def _choose_target(
    project: Project,
    name: str | None,
    environ: Mapping[str, str],
    is_interactive: bool,
    read_login: ReadLogin,
) -> Target:
    if given := name or project.default_target:
        return _require_target(project, given, environ, read_login)
    declared = declared_target_names(project)
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
        return _require_target(project, EMBEDDED, environ)
    reason = f"{' and '.join(set_variables)} set" if set_variables else "not at a terminal"
    raise InputError.from_summary(
        "Which target?",
        f"no target is declared, and the tool does not assume the embedded backend here ({reason})",
        f"pass --target {EMBEDDED}, or declare a target in synapse-apply.yaml",
    )


def _require_target(
    project: Project, name: str, environ: Mapping[str, str], read_login: ReadLogin = read_no_login
) -> Target:
    if name in project.targets:
        return project.targets[name]
    if name == EMBEDDED:
        return Target(EMBEDDED)
    declared = declared_target_names(project)
    # Without declared targets the environment describes the backend; any name may be given to it.
    if _NAME_PATTERN.fullmatch(name) and not declared and names_host(environ, read_login):
        return Target(name)
    hint = suggest_words(name, [*declared, EMBEDDED])
    raise InputError.from_summary("Unknown target", f"there is no target `{name}`", hint)


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
    targets = (project.targets[name] for name in declared_target_names(project))
    return sorted({f"{key}={value}" for target in targets for key, value in target.labels.items()})


def _iter_matching_names(project: Project, selector: str) -> Iterator[str]:
    if selector == EMBEDDED:
        yield EMBEDDED
        return
    for name in declared_target_names(project):
        if matches_selector(selector, name, project.targets[name].labels, matches_pattern):
            yield name


def _build_no_match_finding(project: Project, selector: str) -> Diagnostic:
    names = [*declared_target_names(project), EMBEDDED]
    if not may_name_several_targets(selector):
        return error_finding(
            "Unknown target", f"there is no target `{selector}`", suggest_words(selector, names)
        )
    known_words = [*names, *list_target_labels(project)]
    match = find_similar_word(selector.replace("*", ""), known_words)
    return error_finding(
        "No target matches",
        f"none of {len(names) - 1:,} declared targets matches `{selector}`",
        f"did you mean `{match}`?" if match else suggest_words("", known_words),
    )
