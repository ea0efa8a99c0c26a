"""What fills the holes that the project file leaves in a target: the environment, then a login.

The project file is final. A token is sent only to the host that it was kept for: that of the
login file to the file's own host, SYNAPSE_ACCESS_TOKEN to SYNAPSE_HOST where that is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from synapse_apply.manifests import shapes
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.login import PLACE, Login, Offer, same_origin
from synapse_apply.model.project import Target
from synapse_apply.model.values import SecretRef

HOST, TOKEN, TENANT = "SYNAPSE_HOST", "SYNAPSE_ACCESS_TOKEN", "SYNAPSE_TENANT"
_NOT_SET = "is not set"
_ELSEWHERE = "is set to something else and not used"

Logged = Callable[[], Login | None]


@frozen
class _Found:
    """A setting, and every place that was looked at for it."""

    value: str
    offers: tuple[Offer, ...]


def filled(target: Target, environ: Mapping[str, str], login: Logged) -> Target:
    """The target with its holes filled, and what was looked at for each.

    The login file is looked at only for what nothing else gives.
    """
    if target.is_embedded:
        return target
    url = _url(target, environ, login)
    token, offers = _token(target, url.value, environ, login)
    tenant = _tenant(target, token, environ, login)
    looked = {"url": url.offers, "token": offers, "tenant": tenant.offers}
    return replace(target, url=url.value, token=token, tenant=tenant.value, looked_at=looked)


def has_url(environ: Mapping[str, str], login: Logged) -> bool:
    """Whether a backend is described without a project file."""
    found = None if environ.get(HOST) else login()
    return bool(environ.get(HOST) or (found and found.url and not found.problem))


def _url(target: Target, environ: Mapping[str, str], login: Logged) -> _Found:
    said, variable = target.url, "" if target.url else host_of(environ)
    if said:
        other = environ.get(HOST, "").rstrip("/")
        return _Found(said, (Offer("url of the target"), _beside(HOST, other, said)))
    offers = [Offer("url of the target", _NOT_SET)]
    if variable:
        return _Found(variable, (*offers, Offer(HOST)))
    offers.append(Offer(HOST, _NOT_SET))
    found = login()
    why = _unusable(found)
    return _Found(found.url if found and not why else "", (*offers, _of(found, why)))


def _token(
    target: Target, url: str, environ: Mapping[str, str], login: Logged
) -> tuple[SecretRef | None, tuple[Offer, ...]]:
    variable = environ.get(TOKEN, "")
    if target.token is not None:
        unused = bool(variable) and target.token.name != TOKEN
        beside = Offer(TOKEN, "is set, too, and not used", unused=True) if unused else None
        said = Offer("token of the target")
        return target.token, (said, beside) if beside else (said,)
    offers = [Offer("token of the target", _NOT_SET)]
    kept_for = environ.get(HOST, "")
    if variable and (not kept_for or same_origin(kept_for, url)):
        return SecretRef("env", TOKEN), (*offers, Offer(TOKEN))
    why = f"is kept for {HOST}, which is another host" if variable else _NOT_SET
    offers.append(Offer(TOKEN, why, unused=bool(variable)))
    found = login()
    why = _unusable(found) or (found.lacks if found else "")
    if found and not why and not same_origin(found.url, url):
        why = f"has a token for {found.url}, which is another host"
    ref = SecretRef("login", found.place, literal=found.token) if found and not why else None
    return ref, (*offers, _of(found, why))


def _tenant(
    target: Target, token: SecretRef | None, environ: Mapping[str, str], login: Logged
) -> _Found:
    """A login's tenant is that of its token, and says nothing of another."""
    variable = environ.get(TENANT, "")
    if target.tenant:
        beside = _beside(TENANT, variable, target.tenant)
        return _Found(target.tenant, (Offer("tenant of the target"), beside))
    offers = [Offer("tenant of the target", _NOT_SET)]
    if variable:
        return _Found(variable, (*offers, Offer(TENANT)))
    offers.append(Offer(TENANT, _NOT_SET))
    found = login() if token is not None and token.source == "login" else None
    if found is None or not found.tenant:
        return _Found("", tuple(offers))
    return _Found(found.tenant, (*offers, Offer(found.place)))


def _beside(name: str, other: str, taken: str) -> Offer:
    """What a variable says while the project file is final."""
    if not other:
        return Offer(name, _NOT_SET)
    return Offer(name, "says the same" if other == taken else _ELSEWHERE, unused=other != taken)


def _unusable(found: Login | None) -> str:
    """Why nothing of a login can be used, "" where it can; never what stands in it."""
    if found is None:
        return "is not there"
    if found.problem:
        return f"cannot be used: {found.problem}"
    if not shapes.fits_url(found.url):
        return "cannot be used: its host is no http or https URL, or has credentials in it"
    return ""


def _of(found: Login | None, why: str) -> Offer:
    return Offer(found.place if found else PLACE, why, unused=bool(found and why))


def host_of(environ: Mapping[str, str]) -> str:
    """The URL of the environment: what the project file may not hold, it may not either."""
    url = environ.get(HOST, "").rstrip("/")
    if url and not shapes.fits_url(url):
        raise InputError.of(
            f"{HOST} cannot be used",
            "it is no http or https URL, or has credentials in it",
            f"set it to a URL such as https://api.synapse.sh; the token goes into {TOKEN}",
        )
    return url
