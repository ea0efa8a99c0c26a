"""What `doctor` and `state init` check of the bucket of a state: that it can hold one."""

from __future__ import annotations

from collections.abc import Iterator

from synapse_apply.model.checkup import CheckResult
from synapse_apply.model.diagnostic import warning_finding
from synapse_apply.model.values import SecretRef
from synapse_apply.operations.checks.target_checkup import LazyTargetParts
from synapse_apply.stores.bucket.bucket_leftovers import count_prunable_objects_or_zero_if_unclear
from synapse_apply.stores.bucket.bucket_messages import BucketAccessDenied
from synapse_apply.stores.bucket.bucket_probe import probe_bucket_or_raise_unsuitable
from synapse_apply.workspace.sharing.bucket_access import open_bucket_folder_or_none_for_other_url
from synapse_apply.workspace.state_access import resolve_state_url_or_raise_if_unset
from synapse_apply.workspace.target_session import TargetSession


def check_bucket_by_making_and_deleting_an_object(
    checkup: LazyTargetParts,
) -> Iterator[CheckResult]:
    """Whether a bucket does what a state needs, and what pruning left; no row for another store.

    One object is made for it, and deleted.
    """
    project, target = (
        checkup.project.get_or_raise_unchecked_error(),
        checkup.target.get_or_raise_unchecked_error(),
    )
    checkup.store.get_or_raise_unchecked_error()
    environ = checkup.session.invocation.environ
    url = resolve_state_url_or_raise_if_unset(target.state.url, project, environ)
    with open_bucket_folder_or_none_for_other_url(url, target, environ) as folder:
        if folder is None:
            return
        count = count_prunable_objects_or_zero_if_unclear(folder)
        try:
            may_delete = probe_bucket_or_raise_unsuitable(folder).may_delete
        except BucketAccessDenied as denied:
            # A job that only plans has no right to write, and needs none.
            finding = denied.diagnostics[0]
            yield CheckResult.from_finding(
                "bucket",
                warning_finding("This job may not write the state", finding.detail, finding.hint),
            )
            return
    left_text = f"{count} old object{'' if count == 1 else 's'} not deleted yet"
    if may_delete:
        yield CheckResult.build_ok("bucket", f"makes an object once, and lists it; {left_text}")
        return
    finding = warning_finding(
        "Old objects of the state cannot be deleted",
        f"{folder.location}: {left_text}. They do no harm, but they take space.",
        "Grant the right to delete in this folder (s3:DeleteObject). Where a lock or a policy of"
        " the bucket forbids it, leave it so.",
    )
    yield CheckResult.from_finding("bucket", finding)


def probe_and_require_usable_if_bucket_url(session: TargetSession, url: str | SecretRef) -> None:
    """StateError where the url of a new state names a bucket that cannot hold one."""
    target, environ = session.target, session.invocation.environ
    with open_bucket_folder_or_none_for_other_url(
        resolve_state_url_or_raise_if_unset(url, session.project, environ), target, environ
    ) as folder:
        if folder is not None:
            probe_bucket_or_raise_unsuitable(folder)
