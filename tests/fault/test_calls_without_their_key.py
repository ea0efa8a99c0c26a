"""After `state rekey` without the former key nothing claims a secret that nobody has compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from buckets.servers import BucketServer
from controllers.backend_proxy import BackendProxy
from fault.convergence import command
from fault.site import LATER, Server, Site
from fault.test_creates_that_act_again import killed as killed_at
from fault.test_lost_updates import PLUGIN, declare, killed, token
from fault.test_lost_updates_told import change_beside, told
from fault.test_ways_out_of_open_calls import PRINTED, documents, write

KEYS = ["A" * 44, "B" * 43 + "="]
ALPHA, BETA, GAMMA, BY_HAND = (f"{name}-s3cret" for name in ("alpha", "beta", "gamma", "hand"))
OUTSIDE = re.compile(r"outside", re.IGNORECASE)


def git_has(site: Site, value: str) -> None:
    site.environ["RAW_TOKEN"] = value  # type: ignore[index]


def rekey_without_the_former(site: Site) -> str:
    """Another key is put in the place of the one that made every digest."""
    site.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[1]  # type: ignore[index]
    return told(command(site, "state rekey --auto-approve --allow-unsigned -t site"))


def set_token(server: Server, value: str) -> None:
    """As an administrator does it, or a call that acts late."""
    ((remote_id,),) = [ids for name, ids in server.ids().items() if name == PLUGIN]
    body = {"configuration": {"token": value}}
    server.send("PATCH", f"/_emulator/objects/plugin/{remote_id}/", body)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """Where the state is: the url of a bucket, or "" for a file."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return ""
    bucket: BucketServer = request.getfixturevalue("seaweed")
    return str(bucket.url())


@pytest.fixture
def make(
    server: Server, make_site: Callable[..., Site], tmp_path: Path, api: str, profile: str
) -> Iterator[Callable[..., Site]]:
    """Makes a site whose plugin has the secret `alpha`, on a backend that may hide it."""
    with BackendProxy(server.url) as mask:

        def made(place: str, *, is_hidden: bool, on_drift: str = "revert") -> Site:
            if is_hidden:
                mask.alter_answer = partial(re.sub, rb'"token": ?"[^"]*"', b'"token": "********"')
            server.behave(profile)
            site = Site.make(
                tmp_path / "site",
                Server(mask.url),
                groups=1,
                state_url=place,
                api=api,
                profile=profile,
                settle_after=300,
            )
            key = {"SYNAPSE_APPLY_STATE_KEY": KEYS[0], "RAW_TOKEN": ALPHA}
            site = replace(site, environ={**site.environ, **key})
            plugin, *others = documents(site)
            plugin["lifecycle"] = {"sensitive": ["/configuration/token"]}
            plugin["spec"]["configuration"] = {"token": {"valueFrom": {"env": "RAW_TOKEN"}}}
            write(site, plugin, *others)
            declare(site, "nine", on_drift=on_drift)
            assert site.apply().code == 0
            return site

        yield made


@dataclass(frozen=True)
class Face:
    """`now` is Git's value when the key is changed. `lands`: the call acts after that."""

    is_hidden: bool
    now: str
    lands: bool
    on_drift: str = "revert"
    is_sent_again: bool = False


FACES = {
    "hidden, never done": Face(True, BETA, lands=False),
    "shown, rolled back, done late": Face(False, ALPHA, lands=True),
    "shown, rolled back, done late, held": Face(False, ALPHA, lands=True, on_drift="hold"),
    "shown, a third value, done late": Face(False, GAMMA, lands=True),
    "shown, a third value, done late, held": Face(False, GAMMA, lands=True, on_drift="hold"),
    "shown, kept, never done": Face(False, BETA, lands=False),
    "shown, kept, never done, held": Face(False, BETA, lands=False, on_drift="hold"),
    "hidden, rolled back, done late": Face(True, ALPHA, lands=True),
    "hidden, a third value, never done": Face(True, GAMMA, lands=False),
    "shown, sent again, rolled back": Face(False, ALPHA, lands=True, is_sent_again=True),
}


ON_STORES = [
    pytest.param(store, face, is_rekeyed, id=f"{face} {store}{'' if is_rekeyed else ' same key'}")
    for face in FACES
    for store, is_rekeyed in (("sqlite", True), ("sqlite", False), ("s3", True))
    if store == "sqlite" or face in {"hidden, never done", "shown, rolled back, done late"}
]


@pytest.mark.parametrize(("place", "face", "is_rekeyed"), ON_STORES, indirect=["place"])
def test_a_lost_update_of_a_secret(
    make: Callable[..., Site], server: Server, place: str, face: str, *, is_rekeyed: bool
) -> None:
    """Nothing is told as another's or as done; nothing overwrites; each way out ends as Git says."""
    case = FACES[face]
    site = make(place, is_hidden=case.is_hidden, on_drift=case.on_drift)
    git_has(site, BETA)
    killed(site, server, "before")
    if case.is_sent_again:
        assert site.apply().code == 0
    git_has(site, case.now)
    typed = "apply --wait --auto-approve -t site"
    codes = {"plan": 0}
    if is_rekeyed:
        said = rekey_without_the_former(site)
        assert f"{PLUGIN} configuration.token: without the former key, it is unknown" in said
        (way,) = PRINTED.findall(said.partition("Computed the digests")[0])
        typed = f"{way} --auto-approve"
        refused = 0 if case.is_sent_again else 7
        codes |= {"drift": min(refused, 1), "state settle": refused, "apply": refused}
    for is_late in (False, True):
        if is_late and case.lands:
            set_token(server, BETA)
        was = token(server)
        for name, code in codes.items():
            approval = " --auto-approve" if name == "apply" else ""
            said = told(command(site, f"{name}{approval} -t site", code))
            assert not OUTSIDE.search(said), said
            assert "was not done" not in said
            assert token(server) == was
    said = told(command(site, typed))
    assert not OUTSIDE.search(said), said
    assert token(server) == case.now
    said = told(command(site, "plan -t site") + command(site, "drift -t site"))
    assert said.startswith("No changes. Live state matches the configuration.")
    assert "another state key" not in said
    assert "No drift." in said


CREATE = {"method": "POST", "path": "/storages/"}
STORAGE = "storage/more-0"


@pytest.mark.parametrize("now", [BETA, GAMMA])
@pytest.mark.parametrize("is_shown", [True, False])
def test_a_lost_create_with_a_secret(
    make_site: Callable[..., Site], server: Server, place: str, now: str, *, is_shown: bool
) -> None:
    """What was made as it was sent is ours; a value that is shown is compared with Git's."""
    with server.switched(secrets="plain" if is_shown else "omitted"):
        site = make_site(groups=0, extra_storages=1, state_url=place, settle_after=300)
        site.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[0]
        more: Path = site.root / "manifests" / "more.yaml"
        document = json.loads(more.read_text())
        configuration: dict[str, Any] = {
            "bucket_name": "b",
            "region": "eu",
            "access_key_id": "an-id",
        }
        configuration["secret_access_key"] = {"valueFrom": {"env": "RAW_TOKEN"}}
        document["spec"] |= {"provider": "amazon_s3", "configuration": configuration}
        more.write_text(json.dumps(document))
        git_has(site, BETA)
        killed_at(site, server, CREATE, "after")
        git_has(site, now)
        said = rekey_without_the_former(site)
        assert f"`synapse-apply state settle {STORAGE} --wait -t site` looks it up" in said
        said = told(command(site, "plan -t site"))
        assert "other values" not in said
        assert re.search(rf"create of {STORAGE}, sent at \S+ by apply \S+, was done\.", said), said
        assert ("cannot be updated" in said) is (is_shown and now != BETA)
        said = told(command(site, f"state settle {STORAGE} --wait -t site"))
        assert f"{STORAGE}: create was done (id " in said
        assert site.open_intents() == []
        command(site, f"state accept {STORAGE} --auto-approve -t site")
        said = told(command(site, "plan -t site"))
        assert "another state key" not in said
        assert ("No changes." in said) is True


@pytest.mark.parametrize("on_drift", ["hold", "revert"])
@pytest.mark.parametrize("is_settled", [True, False])
def test_a_secret_that_somebody_sets_after_an_update_that_was_not_done(
    make: Callable[..., Site], server: Server, on_drift: str, *, is_settled: bool
) -> None:
    """The server shows what it has, so what was recorded is known: that Git has not moved, too."""
    site = make("", is_hidden=False, on_drift=on_drift)
    git_has(site, BETA)
    killed(site, server, "before")
    git_has(site, ALPHA)
    said = told(command(site, "state settle --wait -t site"))
    assert f"{PLUGIN}: update was not done" in said
    if is_settled:
        assert "No changes." in command(site, "apply --auto-approve -t site")
    set_token(server, BY_HAND)
    said = told(command(site, "plan -t site"))
    assert "changed in Git" not in said
    drift = told(command(site, "drift -t site"))
    assert "token = (sensitive, changed) # drift: changed outside" in drift
    assert "waits for an apply" not in drift
    applied = told(command(site, "apply --auto-approve -t site"))
    if on_drift == "hold":
        kept = "configuration.token was changed outside and is kept (on_drift: hold)"
        assert all(kept in one for one in (said, applied))
        assert token(server) == BY_HAND
        git_has(site, GAMMA)  # Git has spoken last
        assert "changed in Git and outside" in command(site, "plan -t site")
        command(site, "apply --auto-approve -t site")
        assert token(server) == GAMMA
    else:
        assert "# drift: changed outside" in said
        assert token(server) == ALPHA


def test_a_hidden_secret_after_an_update_that_was_not_done_by_what_is_seen(
    make: Callable[..., Site], server: Server
) -> None:
    """Of what nobody shows nothing is known: it is sent again, also under `on_drift: hold`."""
    site = make("", is_hidden=True, on_drift="hold")
    git_has(site, BETA)
    declare(site, "ten")
    killed(site, server, "before")
    git_has(site, ALPHA)
    assert "update was not done" in command(site, "state settle --wait -t site")
    assert "(sensitive, live value not known)" in command(site, "plan -t site")
    set_token(server, BETA)
    assert site.apply().code == 0
    assert token(server) == ALPHA


@pytest.mark.parametrize("is_hidden", [True, False])
def test_a_doubted_secret_is_sent_after_a_rekey_as_before(
    make: Callable[..., Site], server: Server, *, is_hidden: bool
) -> None:
    """Which value the server has nobody knows under the former key either; none is kept for that."""
    site = make("", is_hidden=is_hidden)
    git_has(site, BETA)
    killed(site, server, "before")
    if not is_hidden:
        set_token(server, BY_HAND)
    said = told(command(site, "state settle --wait -t site"))
    assert "whether update was done" in said
    said = rekey_without_the_former(site)
    assert ("its value has changed since" in said) is False
    assert ("Kept" in said) is not is_hidden
    said = told(command(site, "plan -t site"))
    assert "another state key" not in said
    assert ("live value not known" in said) is is_hidden
    assert "outside" not in said
    assert site.apply().code == 0
    assert token(server) == BETA
    assert "No changes." in command(site, "plan -t site")


@pytest.mark.parametrize("now", [BETA, GAMMA])
def test_a_shown_secret_of_an_update_that_was_done_is_sent_where_it_differs(
    make: Callable[..., Site], server: Server, now: str
) -> None:
    """The description tells that it was done; the secret is compared under the new key."""
    site = make("", is_hidden=False)
    git_has(site, BETA)
    declare(site, "ten")
    killed(site, server, "before")
    git_has(site, now)
    rekey_without_the_former(site)
    change_beside(server, {"description": "ten", "configuration": {"token": BETA}})
    said = told(command(site, "apply --auto-approve -t site"))
    assert "was done; it is unknown whether its secrets arrived, so the next apply sends" in said
    assert "those whose declared value differs" in said
    assert ("1 changed" in said) is (now != BETA)
    assert token(server) == now
    assert "No changes." in command(site, "plan -t site")


def test_what_somebody_set_is_not_overwritten_after_a_rekey(
    make: Callable[..., Site], server: Server
) -> None:
    """The update was not done, and Git has not moved: the field is not checked, and so kept."""
    site = make("", is_hidden=False, on_drift="hold")
    git_has(site, BETA)
    killed(site, server, "before")
    git_has(site, ALPHA)
    assert "update was not done" in command(site, "state settle --wait -t site")
    set_token(server, BY_HAND)
    (way,) = PRINTED.findall(rekey_without_the_former(site).partition("Computed the digests")[0])
    said = told(command(site, "plan -t site"))
    assert "Secrets not checked: the state records them under a different key" in said
    assert site.apply().code == 0
    assert token(server) == BY_HAND
    command(site, f"{way} --auto-approve")
    assert token(server) == ALPHA
    assert "another state key" not in command(site, "plan -t site")


def test_an_imported_secret_is_no_drift_after_a_rekey(
    make: Callable[..., Site], server: Server
) -> None:
    """What an import saw was never the manifest's: it is compared with what is live, as before."""
    site = make("", is_hidden=False)
    remote_id = site.records()[PLUGIN]
    command(site, f"state rm -t site {PLUGIN}")
    command(site, f"import -t site {PLUGIN} {remote_id}")
    git_has(site, BETA)
    was = command(site, "plan -t site")
    rekey_without_the_former(site)
    said = command(site, "plan -t site")
    assert "drift" not in said
    assert said == was
    assert site.apply().code == 0
    assert token(server) == BETA


def test_one_value_everywhere_is_digested_anew_without_the_former_key(
    make: Callable[..., Site], server: Server
) -> None:
    """The key is lost, and the manifests have the secrets: nothing is left to do."""
    site = make("", is_hidden=False)
    assert "Kept" not in rekey_without_the_former(site)
    assert "another state key" not in command(site, "plan -t site")
    git_has(site, BETA)
    assert "token = (sensitive, changed)\n" in command(site, "plan -t site")
    assert site.apply().code == 0
    assert token(server) == BETA


@pytest.mark.parametrize("on_drift", ["hold", "revert"])
@pytest.mark.parametrize("has_former", [True, False])
def test_a_rekey_after_a_call_was_given_up_claims_nothing_of_its_secret(
    make: Callable[..., Site], server: Server, on_drift: str, *, has_former: bool
) -> None:
    """The call may set a value that Git no longer has: nothing under another key is like it."""
    site = make("", is_hidden=False, on_drift=on_drift)
    git_has(site, BETA)
    killed(site, server, "before")
    git_has(site, ALPHA)
    command(site, f"state settle {PLUGIN} --absent -t site")
    if has_former:
        site.environ["SYNAPSE_APPLY_STATE_KEY_SITE"] = KEYS[1]  # type: ignore[index]
        said = told(command(site, "state rekey --auto-approve -t site"))
        assert re.search(
            rf"Kept under its old key: {PLUGIN} configuration\.token: call \S+ of apply \S+ sent a "
            "value that the manifest no longer has",
            said,
        ), said
    else:
        rekey_without_the_former(site)
    for is_late in (False, True):
        if is_late:
            set_token(server, BETA)
        for line in ("plan", "drift", "drift --json"):
            said = told(command(site, f"{line} -t site"))
            assert not OUTSIDE.search(said), said
            assert re.search(
                r"may still act until \S+, and may set configuration\.token to another value "
                r"and may revert changes made to other fields since \S+, which cannot be "
                r"compared without the former state key\.",
                said,
            ), said
    if has_former:
        assert re.search(
            r"token.* may have been set by call \S+ of apply \S+; it cannot be "
            r"compared without the former state key; who set it is unknown",
            told(command(site, "plan -t site")),
        )
    typed = f"apply --wait --auto-approve --resend-secrets --revert-drift --only {PLUGIN}"
    command(site, f"{typed} -t site")
    assert token(server) == ALPHA


@pytest.mark.parametrize("acts", [True, False])
def test_a_hidden_secret_that_was_sent_before_a_call_could_no_longer_act_is_sent_again(
    make: Callable[..., Site], server: Server, *, acts: bool
) -> None:
    """Nobody sees which of the two came last; once, when the call's time is over."""
    site = make("", is_hidden=True)
    git_has(site, BETA)
    killed(site, server, "before")
    git_has(site, ALPHA)
    command(site, f"state settle {PLUGIN} --absent -t site")
    assert site.apply(ahead=0.0).code == 0
    if acts:
        set_token(server, BETA)
    plan = site.plan(ahead=0.0)
    assert [change.address for change in plan.changes if change.fields] == []
    (warned,) = [one.detail for one in plan.diagnostics if "may still act" in one.detail]
    assert "would set configuration.token" in warned
    (change,) = [one for one in site.plan(ahead=LATER).changes if one.fields]
    assert [(field.path, field.note) for field in change.fields] == [
        (("configuration", "token"), "live value not known")
    ]
    assert site.apply(ahead=LATER).code == 0
    assert token(server) == ALPHA
    assert not [one for one in site.plan(ahead=2 * LATER).changes if one.fields]
