"""Which undocumented behaviours can be chosen: switches and profiles, as page.md tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# The page of behaviours, docs/emulator.md. Its tables of profiles and of switches are read here, so
# that each name, value and default stands in one place.
PAGE = Path(__file__).parents[1] / "page.md"
_PROFILE_ROW = re.compile(
    r"^\| `(\w+)` \| [^|]* \| (?:The first value of each\.|(`.*`)) \|$", re.MULTILINE
)
_SWITCH_ROW = re.compile(r"^\| `(\w+)` \| (`\w+` \(\w+\)(?:, `\w+` \(\w+\))*) \| ", re.MULTILINE)


class UnknownSwitchError(ValueError):
    """A switch, value or profile that does not exist; the message lists those that do."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One choice between behaviours; `values` has the source of each, the default first."""

    name: str
    values: Mapping[str, str]

    @property
    def default(self) -> str:
        return next(iter(self.values))


# The data set keeps its profile, because objects made under one are read wrongly under another; the
# project file has none, because `embedded` always exists and is always the same target.
@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of switch values; all other switches have their defaults."""

    name: str
    values: Mapping[str, str]


_TEXT = PAGE.read_text(encoding="utf-8")
SWITCHES = tuple(
    Switch(name, dict(re.findall(r"`(\w+)` \((\w+)\)", values)))
    for name, values in _SWITCH_ROW.findall(_TEXT)
)
DEFAULT_PROFILE = "page"
PROFILES = tuple(
    Profile(name, dict(re.findall(r"`(\w+)=(\w+)`", values)))
    for name, values in _PROFILE_ROW.findall(_TEXT)
)
PROFILE_NAMES = tuple(profile.name for profile in PROFILES)
_BY_NAME = {switch.name: switch for switch in SWITCHES}


def require_profile(name: str) -> Profile:
    """The profile with this name. Raises UnknownSwitchError."""
    for profile in PROFILES:
        if profile.name == name:
            return profile
    names = ", ".join(PROFILE_NAMES)
    raise UnknownSwitchError(f"unknown profile {name!r}; known: {names}")


class Switches:
    """The current value of each switch: a profile's, with chosen ones on top.

    They may be changed while the server runs.
    """

    def __init__(self, chosen: Mapping[str, str] | None = None, profile: str = "") -> None:
        """Raises UnknownSwitchError, also for an unknown profile ("" is the default one)."""
        self._values = {switch.name: switch.default for switch in SWITCHES}
        # Defaults first, then the profile, then single switches: each overrides the one before.
        self.update(require_profile(profile or DEFAULT_PROFILE).values)
        self.update(chosen or {})

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def has_value(self, name: str, value: str) -> bool:
        return self._values[name] == value

    def update(self, chosen: Mapping[str, str]) -> None:
        """Set these switches, all or none. Raises UnknownSwitchError."""
        for name, value in chosen.items():
            if name not in _BY_NAME:
                raise UnknownSwitchError(f"unknown switch {name!r}; known: {', '.join(_BY_NAME)}")
            if value not in _BY_NAME[name].values:
                values = ", ".join(_BY_NAME[name].values)
                raise UnknownSwitchError(f"switch {name!r} must be one of {values}, not {value!r}")
        self._values.update(chosen)

    def as_dict(self) -> dict[str, str]:
        return dict(self._values)
