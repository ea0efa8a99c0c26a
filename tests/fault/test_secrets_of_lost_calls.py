"""A secret that only a lost call sent is one wherever it shows, and is never sent back as read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from controllers.backend_proxy import BackendProxy
from fault.convergence import command, on_store
from fault.site import LATER, MakeSite, Site
from fault.test_lost_updates import PLUGIN, declare, killed, live
from fault.test_lost_updates_told import change_beside, told
from fault.test_ways_out_of_open_calls import documents, write

VALUE = "live-s3cret-of-git"
TOKEN = {"valueFrom": {"env": "RAW_TOKEN"}}


def configure(site: Site, configuration: dict[str, Any], **lifecycle: Any) -> None:
    plugin, *others = documents(site)
    plugin["spec"]["configuration"] = configuration
    plugin["lifecycle"] = lifecycle
    write(site, plugin, *others)


def configured(site: Site) -> dict[str, Any]:
    (row,) = site.server.objects("plugin")
    return dict(row["body"]["configuration"])


def by_hand(site: Site) -> None:
    command(site, f"state settle {PLUGIN} --absent -t site")


def by_time(site: Site) -> None:
    command(site, "state settle --wait -t site")


def by_import(site: Site) -> None:
    remote_id = site.records()[PLUGIN]
    command(site, f"state rm {PLUGIN} -t site")
    command(site, f"import {PLUGIN} {remote_id} -t site")


def by_hand_and_import(site: Site) -> None:
    by_hand(site)
    by_import(site)


@pytest.fixture
def acted(make_shared_site: MakeSite) -> Callable[..., Site]:
    """Makes a site whose Git took a secret back, and a lost call acted on late."""

    def make(end: Callable[[Site], None], *, keeps: str = "nine", **of_target: Any) -> Site:
        site = make_shared_site(groups=1, settle_after=300)
        site.environ["RAW_TOKEN"] = VALUE  # type: ignore[index]
        configure(site, {"q": 1})
        declare(site, "nine", **of_target)
        assert site.apply().code == 0
        configure(site, {"q": 1, "token": TOKEN}, sensitive=["/configuration/token"])
        declare(site, "ten")
        killed(site, site.server, "before")
        configure(site, {"q": 1})
        declare(site, keeps)
        end(site)
        sent = {"description": "ten", "configuration": {"q": 1, "token": VALUE}}
        change_beside(site.server, sent)
        return site

    return make


@on_store("sqlite", "s3")
@pytest.mark.parametrize("end", [by_hand, by_time, by_import, by_hand_and_import])
def test_it_is_shown_nowhere(acted: Callable[..., Site], end: Callable[[Site], None]) -> None:
    """Git has no word of it any more; the call's digest is what tells that it is a secret."""
    site = acted(end)
    page: Path = site.root / "page.html"
    code = 1 if end is by_import else 0  # it may still act: nobody can tell the drift

    def shown() -> str:
        looks = [f"plan --report html={page}", "plan --json", f"show {PLUGIN}", f"get {PLUGIN}"]
        texts = [command(site, f"{line} -t site") for line in looks]
        texts += [command(site, f"{line} -t site", code) for line in ("drift", "drift --json")]
        return "".join([*texts, page.read_text()])

    said = shown()
    assert f"{PLUGIN} cannot be updated" in said
    configure(site, {"q": 1}, own=["/configuration"])
    said += shown()
    assert "token = (sensitive, changed)" in said
    command(site, "plan --out f.plan -t site")
    said += command(site, "show f.plan") + command(site, "show f.plan --json")
    said += command(site, f"drift --write {PLUGIN} --dry-run -t site", code=1)
    assert ("spec.configuration.token is a secret" in said) is not code
    assert VALUE not in said


@on_store("sqlite", "s3")
def test_it_is_shown_nowhere_without_a_record(acted: Callable[..., Site]) -> None:
    """Nor has the record that an import makes later its value."""
    site = acted(lambda site: (by_hand(site), command(site, f"state rm {PLUGIN} -t site")))
    (remote_id,) = site.server.ids()[PLUGIN]
    said = "".join(
        command(site, f"{line} -t site")
        for line in (
            "get plugin plugin-0 -o yaml",
            f"get plugin id={remote_id} --json",
            "plan --json",
            f"import {PLUGIN} {remote_id}",
            "state show --json",
        )
    )
    assert VALUE.partition("s3cret")[0] not in said  # the rest is masked anyhow


WAYS: dict[str, Callable[[Site], object]] = {
    "revert the change of description in Git": lambda site: declare(site, "ten"),
    "declare configuration.token, as a secret with a valueFrom other than live": lambda site: (
        configure(site, {"q": 1, "token": TOKEN}, sensitive=["/configuration/token"])
    ),
    "clear configuration.token in Synapse": lambda site: change_beside(
        site.server, {"configuration": {"q": 1}}
    ),
    f"change it in Synapse, then `synapse-apply state accept {PLUGIN} -t site`": lambda site: (
        change_beside(site.server, {"description": "eleven"}),
        command(site, f"state accept {PLUGIN} --auto-approve -t site"),
    ),
}


@on_store("sqlite")
@pytest.mark.parametrize("way", WAYS)
def test_an_update_neither_sends_it_back_nor_clears_it(
    acted: Callable[..., Site], way: str
) -> None:
    """It is refused, and each way out that it prints ends that."""
    site = acted(by_hand, keeps="eleven")
    said = told(command(site, "apply --auto-approve -t site", code=5))
    assert "would clear configuration.token" in said
    assert said.partition("Ways out: * ")[2].partition(" Refused")[0].split(" * ") == [*WAYS]
    assert configured(site)["token"] == VALUE
    WAYS[way](site)
    assert site.apply().code == 0
    assert live(site.server) == ("ten" if "revert" in way else "eleven")
    assert ("token" in configured(site)) is ("clear" not in way)
    assert "No changes." in command(site, "plan -t site")


@on_store("sqlite")
@pytest.mark.parametrize("is_declared", [True, False])
def test_one_that_is_kept_is_removed_or_declared(
    acted: Callable[..., Site], *, is_declared: bool
) -> None:
    """With `on_drift: hold` and `own`, an update of another field cannot keep it."""
    site = acted(by_hand, on_drift="hold")
    configure(site, {"q": 1}, own=["/configuration"])
    declare(site, "eleven")
    said = told(command(site, "apply --auto-approve -t site", code=5))
    assert VALUE not in said
    revert, declaring = f"apply --only {PLUGIN} --revert-drift -t site", [*WAYS][1]
    assert f"Ways out: * `synapse-apply {revert}` removes it * {declaring} Refused" in said
    if is_declared:
        configure(site, {"q": 1, "token": TOKEN}, sensitive=["/configuration/token"])
    command(site, f"{'apply -t site' if is_declared else revert} --auto-approve")
    assert live(site.server) == "eleven"
    assert ("token" in configured(site)) is is_declared


@on_store("sqlite")
def test_what_is_made_public_is_forgotten_first(acted: Callable[..., Site]) -> None:
    """A plain value at its place is hidden, until its record and the call in it are forgotten."""
    site = acted(by_time)
    configure(site, {"q": 1, "token": "a public word"})
    said = told(command(site, "plan -t site"))
    assert "A recorded secret is no longer marked as secret" in said
    assert "public word" not in said
    assert f"forget the resource and adopt it again: `synapse-apply state rm {PLUGIN}" in said
    by_import(site)
    said = command(site, "plan -t site")
    assert '"a public word"' in said
    assert "no longer marked" not in said


def told_as_ours(site: Site, line: str) -> str:
    """What a command says, none of which is that somebody else set the secret."""
    said = told(command(site, f"{line} -t site"))
    assert "outside" not in said, said
    return said


@on_store("sqlite")
@pytest.mark.parametrize("on_drift", ["hold", "revert"])
def test_one_that_a_call_rotated_is_ours_in_the_record_of_an_import(
    make_shared_site: MakeSite, on_drift: str
) -> None:
    """The new record has no word of the call but the call itself; it acts after the import."""
    site = make_shared_site(groups=1, settle_after=300)
    site.environ["RAW_TOKEN"] = VALUE  # type: ignore[index]
    configure(site, {"token": TOKEN}, sensitive=["/configuration/token"])
    declare(site, "nine", on_drift=on_drift)
    assert site.apply().code == 0
    site.environ["RAW_TOKEN"] = "rotated-s3cret"  # type: ignore[index]
    killed(site, site.server, "before")
    by_import(site)
    # The same again is no newer value, and may be sent.
    assert "cannot be updated" not in told_as_ours(site, "plan")
    site.environ["RAW_TOKEN"] = VALUE  # type: ignore[index]
    change_beside(site.server, {"configuration": {"token": "rotated-s3cret"}})
    said = told_as_ours(site, "plan")
    assert re.search(r"token = \(sensitive, changed\) # set by call \S+ of apply", said), said
    assert "would set" not in said
    change_beside(site.server, {"configuration": {"token": "anothers"}})
    assert "outside" in command(site, "plan -t site")
    change_beside(site.server, {"configuration": {"token": "rotated-s3cret"}})
    assert site.apply(ahead=LATER).code == 0
    assert (configured(site)["token"] == VALUE) is (on_drift == "revert")


@on_store("sqlite")
@pytest.mark.parametrize("end", [by_hand, by_import])
def test_the_keys_of_one_that_is_a_map_are_ours(
    make_shared_site: MakeSite, end: Callable[[Site], None]
) -> None:
    """Git took the whole map back; the call's one digest is of all its keys."""
    site = make_shared_site(groups=1, settle_after=300)
    auth = {"user": "u-77", "pass": VALUE}
    site.environ["RAW_TOKEN"] = json.dumps(auth)  # type: ignore[index]
    named = {"sensitive": ["/configuration/auth"], "own": ["/configuration"]}
    configure(site, {"q": 1}, **named)
    declare(site, "nine")
    assert site.apply().code == 0
    of_json = {"valueFrom": {"env": "RAW_TOKEN", "format": "json"}}
    configure(site, {"q": 1, "auth": of_json}, **named)
    killed(site, site.server, "before")
    configure(site, {"q": 1}, **named)
    end(site)
    change_beside(site.server, {"configuration": {"q": 1, "auth": auth}})
    said = told_as_ours(site, "plan") + ("" if end is by_import else told_as_ours(site, "drift"))
    whose = "set by call" if end is by_import else "equals what call"
    assert len(re.findall(rf"(user|pass) = \(sensitive, changed\) # {whose}", said)) >= 2, said
    assert "would set" not in said
    assert VALUE not in said
    change_beside(site.server, {"configuration": {"q": 1, "auth": {**auth, "user": "Eve"}}})
    assert "outside" in command(site, "plan -t site")


def blamed(site: Site) -> tuple[str, str, str]:
    """Where the token comes from: the kind of origin, the call and the sentence."""
    said = command(site, f"blame {PLUGIN} configuration.token --json -t site")
    (one,) = json.JSONDecoder().raw_decode(said[said.index("{\n") :])[0]["fields"]
    text = told(command(site, f"blame {PLUGIN} configuration.token -t site"))
    assert "s3cret" not in said + text
    shown = f"configuration.token = (sensitive) {one['sentence']}"
    # What was changed outside was so before the time of each command.
    assert shown.partition(" and 20")[0] in text, text
    return one["origin"], one["call"], one["sentence"]


@pytest.mark.parametrize("end", [None, by_hand, by_time])
def test_blame_says_of_a_shown_secret_what_can_be_compared(
    make_site: MakeSite, end: Callable[[Site], None] | None
) -> None:
    """As of any field: the live digest is that of what was seen, of what the call sent, or neither."""
    site = make_site(groups=1, settle_after=300)
    site.environ["RAW_TOKEN"] = "former-s3cret"  # type: ignore[index]
    configure(site, {"token": TOKEN}, sensitive=["/configuration/token"])
    assert site.apply().code == 0
    former = blamed(site)
    assert former[0] == "sent"
    site.environ["RAW_TOKEN"] = VALUE  # type: ignore[index]
    killed(site, site.server, "before")
    if end:
        end(site)
    assert blamed(site) == former
    change_beside(site.server, {"configuration": {"token": VALUE}})
    origin, _, sentence = blamed(site)
    assert origin == "equal"
    whose = r"call \S+ of apply \S+" if end else r"call \S+"
    assert re.fullmatch(rf"equals what {whose} sent; who set it is unknown", sentence), sentence
    change_beside(site.server, {"configuration": {"token": "third-s3cret"}})
    origin, _, sentence = blamed(site)
    assert ("of it is open" if end is None else "changed outside between") in sentence


def test_blame_says_of_a_hidden_secret_that_a_lost_call_may_have_set_it(
    hiding: Site, mask: BackendProxy
) -> None:
    """Neither value can be compared; once the server shows it, the call's can."""
    assert "last sent by call" in blamed(hiding)[2]
    declare(hiding, "ten")
    hiding.environ["RAW_TOKEN"] = VALUE  # type: ignore[index]
    killed(hiding, hiding.server, "after")
    hidden = (
        "unknown",
        None,
        "not known: the backend does not show it, and a call of unknown outcome may have set it",
    )
    assert blamed(hiding) == hidden
    by_time(hiding)
    assert blamed(hiding) == hidden
    mask.alter_answer = bytes
    origin, _, sentence = blamed(hiding)
    assert origin == "equal"
    assert "who set it is unknown" in sentence
