"""The base class of our parameter types, in a form that every allowed version of click has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    AnyParamType = click.ParamType[Any]
else:
    AnyParamType = click.ParamType  # not generic at run time before click 8.4
