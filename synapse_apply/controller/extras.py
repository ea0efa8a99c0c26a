"""Whether the packages of the extras [controller] and [fleet] are installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from synapse_apply.model.errors import InputError

_PAGE_MODULES = {"jinja2": "jinja2", "prometheus_client": "prometheus-client"}
_FLEET_MODULES = {
    "psycopg": "psycopg",
    "psycopg_pool": "psycopg-pool",
    "procrastinate": "procrastinate",
}


def require_page_packages() -> None:
    """Raise InputError, with the command that installs them, where one of the page is missing."""
    _require_packages("Its page is made with them", _PAGE_MODULES, "controller")


def require_fleet_packages() -> None:
    """As `require_page_packages`, of a store on PostgreSQL."""
    _require_packages("Its store is on PostgreSQL", _FLEET_MODULES, "fleet")


def _require_packages(reason: str, modules: Mapping[str, str], extra: str) -> None:
    """`modules` are their packages, by name."""
    missing = [package for module, package in modules.items() if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError.from_summary(
            "The controller needs more packages",
            f"{reason}; {' and '.join(missing)} {verb} not installed.",
            f"pip install 'synapse-apply[{extra}]'",
        )
