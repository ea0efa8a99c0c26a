"""What the facts about the vendor's backend leave open, as parameters with every answer they allow.

The marks in this folder are those of the facts: [M] the vendor's written procedure, [S] the code of
its SDK, [Sm] a comment there on what the server did, [OA] its API description, [O] older SDKs,
[C] its command-line client, [D] derived, [G] nobody says. A default here is the likeliest answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Guesses:
    """One backend that the facts allow."""

    # How an upload names its plugin: every publisher sends the code [S, O]; the id is [G].
    plugin_reference: Literal["code", "id", "both"] = "code"
    # What an upload of a version that exists answers; texts are known, the rest is [G].
    taken_version_status: int = 400
    taken_version_key: Literal["version", "non_field_errors", "detail"] = "non_field_errors"
    # Whether `version` and `config` of the form are checked against the package's config.yaml [G].
    refuses_disagreement: bool = True
    # Whether `meta` is taken on a release that is not for debugging [G].
    keeps_meta: bool = True
    # Newer backends make a first release along with a plugin [OA]; older ones do not [M].
    makes_first_release: bool = False
    # The status of a create is 200 or 201 [G].
    created_status: int = 201
    # Very likely a list shows public and system plugins of others [D].
    lists_others: bool = True
    # Whether an item says whose it is [G].
    shows_tenant: bool = False
    # `plugins/{code}/` may be read [G]; the SDK reads by integer only.
    reads_by_code: bool = False
    # PUT: all of name, code, category are needed [D], or any part will do [O].
    needs_whole_put: bool = True
    # PUT with another code [G].
    changed_code: Literal["refuse", "ignore"] = "refuse"
    # `plugin_releases/?plugin=CODE` of an unknown code (conflict 18) [G].
    unknown_owner_filter: Literal["empty", "404", "400"] = "empty"
    # What a run must name: `action` [S]; that `agent` and `params` are needed is [G].
    run_needs: tuple[str, ...] = ("action", "agent", "params")
    # A run answers a job or the action's own result [S]; where the job's id stands is [G].
    run_answer: Literal["id", "job_id", "both", "result", "text result"] = "id"
    run_status: int = 200
    # Job ids: integers in early 2026, UUIDs since [S].
    job_ids: Literal["uuid", "int"] = "uuid"
    # `plugin_release` of a job: an integer [O] or an object [S]. An expanded one is an object.
    job_release: Literal["int", "object"] = "int"
    # Which filters a list of jobs has is [G]; tools send these two [O, S].
    job_filters: frozenset[str] = frozenset({"agent", "status"})
    # `created__gte` and `created__lt` of jobs narrow, by the rule of the filters' base class [Sm],
    # which was measured on tasks alone.
    narrows_jobs: bool = True
    # The stream of a job's logs: there [OA], or 404 as a vendor tool met it [O].
    tail: Literal["stream", "404", "error frame"] = "stream"
    # A list of storages is a page or a bare list [S].
    storages_in_pages: bool = True
    # POST storages/: a path and a method that only one page names [G].
    takes_storages: bool = True
    # Keys of a configuration that the provider does not have [G].
    refuses_storage_keys: bool = False
    # Any regime but `none` gives the configuration without its credentials [Sm].
    credential_regime: str = "none"
    # Whether such a key is left out or stands there without its value [G]; masks were never seen.
    withheld_secrets: Literal["left out", "empty"] = "left out"
    # How long a presigned URL of a package lives, in seconds [G].
    file_seconds: float = 300.0
    # Where the presigned URL redirects to before it gives the bytes; "" for nowhere [G].
    file_redirect: str = ""
    # Backends of 2026-04 only read on v2 [C].
    writes_v2: bool = True
    # A base URL may have a path, such as `/api` [M].
    base_path: str = ""
    # The size of a page nobody asked a size of [G].
    page_size: int = 20
