"""Whether the packages of the extras [controller], [fleet] and [oidc] are installed."""

from __future__ import annotations

from importlib.util import find_spec

from synapse_apply.model.errors import InputError

# Of an extra: what needs it, and its packages by the name of their module.
_EXTRAS = {
    "oidc": ("`access.oidc` needs it", {"authlib": "authlib"}),
    "controller": (
        "the page needs them",
        {"jinja2": "jinja2", "prometheus_client": "prometheus-client"},
    ),
    "fleet": (
        "the PostgreSQL store needs them",
        {"psycopg": "psycopg", "psycopg_pool": "psycopg-pool", "procrastinate": "procrastinate"},
    ),
}


def require_packages(extra: str = "controller") -> None:
    """Raise InputError, with the command that installs them, where one of an extra is missing."""
    reason, modules = _EXTRAS[extra]
    missing = [package for module, package in modules.items() if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError.from_summary(
            "The controller needs more packages",
            f"{' and '.join(missing)} {verb} not installed; {reason}.",
            f"pip install 'synapse-apply[{extra}]'",
        )
