"""What the command line does, as a Python API: `open_target` returns one target as an object.

The classes of what its methods take and return stand here too, and are imported at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from synapse_apply.library.opening import explain, is_saved_plan, open_target, open_targets
from synapse_apply.library.target import OpenTarget
from synapse_apply.library.target_jobs import TargetJobs
from synapse_apply.library.target_live import TargetLive
from synapse_apply.library.target_packages import TargetPackages
from synapse_apply.library.target_state import TargetState

if TYPE_CHECKING:
    from synapse_apply.live.live_backend import LiveObject
    from synapse_apply.manifests.edit.rewriting import Rewrite
    from synapse_apply.operations.accept_difference import AcceptableResource
    from synapse_apply.operations.bump import BumpResult
    from synapse_apply.operations.checks.offered_operations import BackendOffer
    from synapse_apply.operations.create_state import CreatedState
    from synapse_apply.operations.export import ExportedFiles, ExportReport
    from synapse_apply.operations.package import (
        PackageDifference,
        PackageInside,
        PackageQuery,
        WrittenZip,
    )
    from synapse_apply.operations.rebind import Rebinding
    from synapse_apply.operations.record_calls import RecoveredCalls
    from synapse_apply.operations.rekey import RekeyResult
    from synapse_apply.operations.resource_sides import ResourceSides
    from synapse_apply.operations.restore import RestoredState, StateExchange
    from synapse_apply.operations.run import StartedRun
    from synapse_apply.operations.settle import OpenCalls, SettledCall, SettledCalls
    from synapse_apply.operations.verify_bytes import BytesResult, ComparedBytes
    from synapse_apply.packages.content import FileChange
    from synapse_apply.packages.inspection import PackageListing
    from synapse_apply.workspace.recovery_journal import EndedCall, JournalContent

_VALUES_BY_HOME = {
    "live.live_backend": "LiveObject",
    "manifests.edit.rewriting": "Rewrite",
    "operations.accept_difference": "AcceptableResource",
    "operations.bump": "BumpResult",
    "operations.checks.offered_operations": "BackendOffer",
    "operations.create_state": "CreatedState",
    "operations.export": "ExportReport ExportedFiles",
    "operations.package": "PackageDifference PackageInside PackageQuery WrittenZip",
    "operations.rebind": "Rebinding",
    "operations.record_calls": "RecoveredCalls",
    "operations.rekey": "RekeyResult",
    "operations.resource_sides": "ResourceSides",
    "operations.restore": "RestoredState StateExchange",
    "operations.run": "StartedRun",
    "operations.settle": "OpenCalls SettledCall SettledCalls",
    "operations.verify_bytes": "BytesResult ComparedBytes",
    "packages.content": "FileChange",
    "packages.inspection": "PackageListing",
    "workspace.recovery_journal": "EndedCall JournalContent",
}
_HOME_BY_VALUE = {
    value: home for home, values in _VALUES_BY_HOME.items() for value in values.split()
}
__all__ = ["AcceptableResource", "BackendOffer", "BumpResult", "BytesResult", "ComparedBytes",
           "CreatedState", "EndedCall", "ExportReport", "ExportedFiles", "FileChange",
           "JournalContent", "LiveObject", "OpenCalls", "OpenTarget", "PackageDifference",
           "PackageInside", "PackageListing", "PackageQuery", "Rebinding", "RecoveredCalls",
           "RekeyResult", "ResourceSides", "RestoredState", "Rewrite",
           "SettledCall", "SettledCalls", "StartedRun", "StateExchange", "TargetJobs", "TargetLive",
           "TargetPackages", "TargetState", "WrittenZip", "explain", "is_saved_plan",
           "open_target", "open_targets"]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import the class of a value from its home; else AttributeError."""
    if name not in _HOME_BY_VALUE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"synapse_apply.{_HOME_BY_VALUE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
