"""What the command line does, as a Python API: `open_target` returns one target as an object.

The classes of what its methods take and return stand here too, and are imported at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from synapse_apply.library.opening import explain, is_saved_plan, open_target, open_targets
from synapse_apply.library.target import OpenTarget

if TYPE_CHECKING:
    from synapse_apply.library.target_live import TargetLive
    from synapse_apply.library.target_packages import (
        PackageDifference,
        PackageInside,
        PackageQuery,
        TargetPackages,
        WrittenZip,
    )
    from synapse_apply.live.live_backend import LiveObject
    from synapse_apply.manifests.rewriting import Rewrite
    from synapse_apply.operations.accept_difference import AcceptableResource
    from synapse_apply.operations.blame import Blame, FieldBlame, ValueOrigin
    from synapse_apply.operations.bump import BumpResult
    from synapse_apply.operations.doctor import BackendOffer
    from synapse_apply.operations.export import ExportedFiles, ExportReport
    from synapse_apply.operations.jobs import StartedRun, TargetJobs
    from synapse_apply.operations.rekey import RekeyResult
    from synapse_apply.operations.resource_sides import ResourceSides
    from synapse_apply.operations.settle import OpenCalls, RecoveredCalls, SettledCall, SettledCalls
    from synapse_apply.operations.state import (
        CreatedState,
        Rebinding,
        RestoredState,
        StateExchange,
        TargetState,
    )
    from synapse_apply.operations.verify import BytesResult, ComparedBytes
    from synapse_apply.packages.content import FileChange
    from synapse_apply.packages.sources import PackageListing
    from synapse_apply.workspace.recovery_journal import EndedCall, JournalContent
    from synapse_apply.workspace.state_key import KeyInUse

_VALUES_BY_HOME = {
    "library.target_live": "TargetLive",
    "library.target_packages": "PackageDifference PackageInside PackageQuery TargetPackages "
    "WrittenZip",
    "live.live_backend": "LiveObject",
    "manifests.rewriting": "Rewrite",
    "operations.accept_difference": "AcceptableResource",
    "operations.blame": "Blame FieldBlame ValueOrigin",
    "operations.bump": "BumpResult",
    "operations.doctor": "BackendOffer",
    "operations.export": "ExportReport ExportedFiles",
    "operations.resource_sides": "ResourceSides",
    "operations.jobs": "StartedRun TargetJobs",
    "operations.settle": "OpenCalls RecoveredCalls SettledCall SettledCalls",
    "operations.verify": "BytesResult ComparedBytes",
    "operations.rekey": "RekeyResult",
    "operations.state": "CreatedState Rebinding RestoredState StateExchange TargetState",
    "packages.content": "FileChange",
    "packages.sources": "PackageListing",
    "workspace.recovery_journal": "EndedCall JournalContent",
    "workspace.state_key": "KeyInUse",
}
_HOME_BY_VALUE = {
    value: home for home, values in _VALUES_BY_HOME.items() for value in values.split()
}
__all__ = ["AcceptableResource", "BackendOffer", "Blame", "BumpResult", "BytesResult",
           "ComparedBytes", "CreatedState", "EndedCall", "ExportReport", "ExportedFiles",
           "FieldBlame", "FileChange", "JournalContent", "KeyInUse",
           "LiveObject", "OpenCalls", "OpenTarget", "PackageDifference", "PackageInside",
           "PackageListing", "PackageQuery", "Rebinding", "RecoveredCalls", "RekeyResult",
           "ResourceSides", "RestoredState", "Rewrite", "SettledCall", "SettledCalls",
           "StartedRun", "StateExchange", "TargetJobs", "TargetLive", "TargetPackages",
           "TargetState", "ValueOrigin", "WrittenZip", "explain", "is_saved_plan", "open_target",
           "open_targets"]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the class of a value from its home; else AttributeError."""
    if name not in _HOME_BY_VALUE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"synapse_apply.{_HOME_BY_VALUE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
