"""Whether the packages of the extra [controller], which the page is made with, are installed."""

from __future__ import annotations

from importlib.util import find_spec

from synapse_apply.model.errors import InputError

_MODULES = {"jinja2": "jinja2", "prometheus_client": "prometheus-client"}


def require_page_packages() -> None:
    """Raise InputError, with the command that installs them, where one is missing."""
    missing = [package for module, package in _MODULES.items() if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InputError.from_summary(
            "The controller needs more packages",
            f"Its page is made with them; {' and '.join(missing)} {verb} not installed.",
            "pip install 'synapse-apply[controller]'",
        )
