"""Which values the arguments of the library accept; all else is an InputError before any work."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError

if TYPE_CHECKING:
    from synapse_apply.operations.plan_arguments import PlanArguments

_Item = TypeVar("_Item")


def require_names(argument: str, names: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple; InputError for a single string, which is a sequence of its letters."""
    return _require_items(argument, names, str, "names")


def build_plan_arguments(
    *, verify: bool = True, override_guards: Iterable[str] = (), **options: Any
) -> PlanArguments:
    """The options that methods share; InputError for a wrong type, and for an unknown guard.

    Names of policy rules are checked later, in `PlanArguments`, where the policy is known.
    """
    from synapse_apply.operations import plan_arguments

    for name in {"only", "exclude", "no_package_check"} & options.keys():
        options[name] = require_names(name, options[name])
    guards = require_names("override_guards", override_guards)
    if descriptions := list(filter(None, map(plan_arguments.describe_unknown_guard, guards))):
        raise InputError.from_summary("This guard cannot be overridden", " ".join(descriptions))
    return plan_arguments.PlanArguments(no_verify=not verify, overridden=guards, **options)


def require_text(argument: str, text: object) -> str:
    """The text; InputError for another type."""
    if not isinstance(text, str):
        raise InputError.from_summary(
            f"{argument} is a text", f"It is {_describe_for_error(text)}."
        )
    return text


def require_address(argument: str, address: object) -> Address:
    """The address, or that of a text `kind/name`; InputError for anything else."""
    try:
        if isinstance(address, str):
            return Address.parse(address)
        if isinstance(address, Address) and all(isinstance(part, str) for part in address):
            return address
    except ValueError:
        pass
    raise InputError.from_summary(
        f"{argument} is an address",
        f"It is a str KIND/NAME or an Address, not {_describe_for_error(address)}.",
    )


def require_count(argument: str, number: object) -> int:
    """The number; InputError for one below 1 and for another type."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError.from_summary(
            f"{argument} is a whole number from 1", f"It is {_describe_for_error(number)}."
        )
    return number


def require_wait_seconds(argument: str, seconds: object) -> float | None:
    """The number, or None for the default; InputError for one below 0 and for another type."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise InputError.from_summary(
            f"{argument} is a number of seconds from 0", f"It is {_describe_for_error(seconds)}."
        )
    return seconds


def require_positive_seconds(argument: str, seconds: object) -> float:
    """The number; InputError for one that is not above 0 and for another type."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise InputError.from_summary(
            f"{argument} is a number of seconds above 0", f"It is {_describe_for_error(seconds)}."
        )
    return seconds


def require_paths(argument: str, paths: Iterable[Path | str], directory: Path) -> tuple[Path, ...]:
    """Each path below a directory; InputError for a single path, as for one that is no path."""
    listed_paths = _require_items(argument, paths, (str, Path), "paths")
    return tuple(require_path(argument, path, directory) for path in listed_paths)


def require_path(argument: str, path: Path | str, directory: Path) -> Path:
    """A path relative to a directory; InputError for what cannot be the path of a file."""
    if not isinstance(path, (str, Path)):
        raise InputError.from_summary(
            f"{argument} is a path", f"It is a str or a Path, not {_describe_for_error(path)}."
        )
    if "\0" in str(path):
        raise InputError.from_summary(
            f"{argument} is a path", f"No path has a NUL character: {str(path)!r}."
        )
    return directory / path


def _require_items(
    argument: str,
    values: Iterable[_Item],
    item_type: type[_Item] | tuple[type[Any], ...],
    plural: str,
) -> tuple[_Item, ...]:
    """The values as a tuple; InputError for a single one, and for items of another type."""
    summary, hint = f"{argument} is a list of {plural}", f"Write {argument}=[...]."
    if isinstance(values, (str, bytes, Path)):
        # Iterated over, a string is its letters, each of which may be the name of a resource.
        raise InputError.from_summary(
            summary, f"It is {_describe_for_error(values)}.", f"Write {argument}=[{str(values)!r}]."
        )
    if not isinstance(values, Iterable):
        raise InputError.from_summary(summary, f"It is {_describe_for_error(values)}.", hint)
    items = tuple(values)
    for item in items:
        if not isinstance(item, item_type):
            raise InputError.from_summary(
                summary, f"One of them is {_describe_for_error(item)}.", hint
            )
    return items


def _describe_for_error(value: object) -> str:
    """A value for an error message: a text or a number as it is, else its type alone."""
    if value is None or isinstance(value, (str, bytes, int, float)):
        return f"the {type(value).__name__} {value!r}" if value is not None else "None"
    return f"a value of type {type(value).__name__}"
