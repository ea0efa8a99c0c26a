"""Which StateError each failure of a bucket becomes, and which failures leave an outcome open.

The client's exceptions have one class for nearly everything, and their texts quote URLs, headers
and what the server said. So a text is searched for known marks, and no part of it is shown but an
error code of letters.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen

_STATUS_PATTERN = re.compile(r"non-2xx status code: ([1-5]\d\d)")
_CODE_PATTERN = re.compile(r"<Code>([A-Za-z][A-Za-z0-9]{0,60})</Code>")
_REGION_PATTERN = re.compile(r"<Region>([a-z0-9-]{1,40})</Region>")
_CERTIFICATE_PATTERN = re.compile(
    r"InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?([A-Za-z]+)"
)

# S3, Azure and Google Cloud call an object that is not there by these names.
_ABSENT_CODES = frozenset({"NoSuchKey", "BlobNotFound"})
_NO_BUCKET_CODES = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_SKEW_CODES = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_REGION_CODES = frozenset(
    {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
)
_LOGIN_CODES = frozenset(
    {
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
        *("AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"),
        *("TokenRefreshRequired", "UnrecognizedClientException"),
    }
)
# Where the client asks for credentials if the environment has none.
_METADATA_MARKS = (
    *("/latest/api/token", "/latest/meta-data", "/metadata/identity", "AssumeRole"),
    "REDACTED",  # the client's own word for the URL of such a request
)

# Such an answer has a status of success and is no object store's.
_FOREIGN_MARKS = ("InvalidListResponse", "MissingEtag", "MissingLastModified", "kind: Redirect")

_LOGIN_HINT = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AZURE_STORAGE_ACCOUNT_KEY, or let the CI"
    " job take a role. Files of profiles are not read:"
    ' `eval "$(aws configure export-credentials --format env)"` sets the variables of one.'
)
_DENIED_SUMMARY = "The bucket of the state refuses access"
NOTHING_LOST_NOTE = "What was recorded before is kept."
LIST_RIGHT_NOTE = (
    "A state needs the right to read, write and list: without s3:ListBucket on the bucket, S3 says"
    " 403 for an object that is not there."
)


class BucketAccessDenied(StateError):
    """The store refuses what was asked; other requests may be permitted."""


@frozen
class BucketFailure:
    """What a failed request says: `status` 0 without an answer, `code` "" without an error code.

    `marks` is the client's text, which is searched and never shown.
    """

    status: int
    code: str
    marks: str

    def __repr__(self) -> str:
        return f"BucketFailure(status={self.status}, code={self.code!r})"

    @property
    def says_object_is_absent(self) -> bool:
        """Whether the store says that this object, in a bucket that exists, is not there."""
        return self.status == 404 and self.code in _ABSENT_CODES

    @property
    def leaves_outcome_open(self) -> bool:
        """Whether a request may have been carried out: no answer, a refusal of the condition.

        Not where the store says that it cannot be used at all.
        """
        if self.status:
            return self.status in (408, 409, 412, 429) or self.status >= 500
        return not self._has_no_connection and not self._is_other_server

    @property
    def _has_no_connection(self) -> bool:
        return "kind: Connect" in self.marks

    @property
    def _is_other_server(self) -> bool:
        return any(mark in self.marks for mark in (*_FOREIGN_MARKS, "BareRedirect"))

    def build_state_error(self, location: str, endpoint: str, activity: str) -> StateError:
        """The error for people; `activity` begins a sentence: Reading, Writing, Listing."""
        summary, detail, hint = _describe_failure(self, location, endpoint, activity)
        kind = BucketAccessDenied if summary == _DENIED_SUMMARY else StateError
        return kind.from_summary(summary, detail, hint)


# A server that answers 200 to everything, such as a portal that asks for a login.
PAGE_IN_PLACE_OF_OBJECT = BucketFailure(0, "", _FOREIGN_MARKS[0])


def parse_client_exception(problem: BaseException) -> BucketFailure:
    """What an exception of the client says, by the marks in its text."""
    text = "kind: Timeout" if isinstance(problem, TimeoutError) else str(problem)
    status = _STATUS_PATTERN.search(text)
    code = _CODE_PATTERN.search(text)
    return BucketFailure(int(status[1]) if status else 0, code[1] if code else "", text)


# Of obstore: empty parts, `.`, `..` and control characters, which S3 takes and its paths do not.
_ODD_NAME_PATTERN = re.compile(
    r'invalid path: (?:Error parsing )?Path "(.+?)"(?:: | contained )', re.DOTALL
)


class _ErrorTexts(NamedTuple):
    summary: str
    detail: str
    hint: str


def _describe_failure(
    failure: BucketFailure, location: str, endpoint: str, activity: str
) -> _ErrorTexts:
    where = f"{activity} {location} at {endpoint}"
    if failure.status:
        return _with_status(failure, where, endpoint)
    return _without_status(failure, where, endpoint)


def _with_status(failure: BucketFailure, where: str, endpoint: str) -> _ErrorTexts:
    status, code = failure.status, failure.code
    answer = f"{where}: the store answered {status}{f' {code}' if code else ''}."
    if code in _NO_BUCKET_CODES:
        return _ErrorTexts(
            "The bucket of the state does not exist",
            answer,
            "Create it, or correct state.url; its region and its endpoint matter, too.",
        )
    if code in _SKEW_CODES:
        return _ErrorTexts(
            "The clock of this machine is wrong",
            f"{answer} Its clock and this machine's differ by more than it allows.",
            "Set the clock (`timedatectl` tells whether it follows a time server).",
        )
    if code in _REGION_CODES or status in (301, 307):
        region = _REGION_PATTERN.search(failure.marks)
        return _wrong_region(answer, region[1] if region else "NAME")
    if any(mark in failure.marks for mark in _METADATA_MARKS) or code in _LOGIN_CODES:
        return _refused_login(answer)
    if status in (401, 403):
        return _ErrorTexts(_DENIED_SUMMARY, answer, LIST_RIGHT_NOTE)
    if status == 404 and not code:
        return _foreign_server(answer, endpoint)
    if status >= 500 or status == 429:
        return _ErrorTexts(
            "The bucket of the state has a fault",
            answer,
            f"Try again in a while. {NOTHING_LOST_NOTE}",
        )
    return _ErrorTexts(
        "The state cannot be used", answer, "See what the store's manual says of this answer."
    )


def _without_status(failure: BucketFailure, where: str, endpoint: str) -> _ErrorTexts:
    """The texts for a failure without a status."""
    marks = failure.marks
    if certificate := _CERTIFICATE_PATTERN.search(marks):
        return _ErrorTexts(
            "The certificate of the bucket's server is not trusted",
            f"{where}: {certificate[1]}.",
            "If it is signed by an authority of your own, name its file in AWS_CA_BUNDLE.",
        )
    if any(mark in marks for mark in _METADATA_MARKS):
        return _refused_login(f"{where}: no credentials were found.")
    if odd_name := _ODD_NAME_PATTERN.search(marks):
        return _ErrorTexts(
            "A foreign object stands in the state's folder",
            f"{where}: the object {odd_name[1][:200]!r} has a name that no state gives, and that "
            "cannot be listed.",
            f"Delete it, by exactly this name. {NOTHING_LOST_NOTE}",
        )
    if "BareRedirect" in marks:
        return _wrong_region(f"{where}: the store says that the bucket is elsewhere.", "NAME")
    if "InvalidMessage" in marks:
        return _foreign_server(f"{where}: the server does not speak TLS.", endpoint)
    if any(mark in marks for mark in _FOREIGN_MARKS):
        return _foreign_server(f"{where}: the answer is none of an object store.", endpoint)
    reason = "the connection was lost"
    if "kind: Timeout" in marks:
        reason = "there was no answer in time"
    elif "ConnectionRefused" in marks:
        reason = "the connection was refused"
    elif "dns error" in marks or "failed to lookup" in marks:
        reason = "the name of the host is not known"
    elif "kind: Connect" in marks:
        reason = "there is no connection"
    return _ErrorTexts(
        "The state's bucket cannot be reached",
        f"{where}: {reason}.",
        f"Check endpoint, region, proxy and network. {NOTHING_LOST_NOTE}",
    )


def _wrong_region(detail: str, region: str) -> _ErrorTexts:
    return _ErrorTexts(
        "The bucket of the state is in another region",
        detail,
        f"Name its region: ?region={region} in state.url, or AWS_REGION.",
    )


def _refused_login(detail: str) -> _ErrorTexts:
    return _ErrorTexts("The bucket of the state needs other credentials", detail, _LOGIN_HINT)


def _foreign_server(detail: str, endpoint: str) -> _ErrorTexts:
    return _ErrorTexts(
        "The endpoint is no object store",
        detail,
        f"Is it a proxy that answers at {endpoint}? endpoint= in state.url or a variable names it.",
    )
