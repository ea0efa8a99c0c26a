"""Where a target's url, token and tenant come from: project file, environment, stored login.

The project file wins. A token is sent only to the host that it was stored for: that of the
login file to the file's host, SYNAPSE_ACCESS_TOKEN to SYNAPSE_HOST where that is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from synapse_apply.manifests.schema import schemas
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Target
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
