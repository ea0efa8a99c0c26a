"""Two replicas on one database: the leader is killed amid an apply, and the other one goes on."""

from typing import Any

from controllers.fleet_site import FleetSite
from controllers.site import SECONDS
from forges.loopback_server import wait_until


def test_a_leader_that_is_killed_amid_an_apply(tmp_path, postgres):
    """What it had is taken over in ten seconds, and so is the lead; nothing is made twice.

    Of a call that was under way nobody knows for a minute whether it had an effect, so that its
    target waits for that; all others end.
    """
    with FleetSite(tmp_path, interval="20s", server=postgres, target_count=3) as site:
        first = site.start_replica("first")
        second = site.start_replica("second")
        leader = site.find_leader()
        site.port = (second if leader is first else first).port
        # So slow that they are under way when it is killed, also on a busy machine.
        commit = site.begin_slow_applies_of(leader, milliseconds=3000)
        site.kill_process(leader)
        unanswered = site.list_targets_of_unanswered_calls()
        claims = site.list_claims(leader)
        assert unanswered
        assert unanswered <= set(claims)
        site.set_faults()
        site.wait_until_taken_over(claims)
        site.wait_for_another_leader(leader)
        others = [name for name in site.target_names if name not in claims]
        site.wait_until_all_is_made(others)
        assert site.get_end(commit) == ""
        assert site.sink.messages == []
        site.check_all_run(leader)
        site.check_fleet_laws(others)


def test_a_rollback_outlives_the_leader(tmp_path, postgres):
    """Asked of one replica, it is known to all: in the database; the others follow the head."""
    with FleetSite(tmp_path, interval="2s", server=postgres, target_count=2) as site:
        good = site.run_git("rev-parse", "HEAD")
        first, second = site.start_replica("first"), site.start_replica("second")
        site.wait_for_end(good, "success")
        leader = site.find_leader()
        site.port = (second if leader is first else first).port
        site.storages = 1
        commit = site.commit("bad")
        site.wait_for_end(commit, "success")

        def wait_for(expected: dict[str, str]) -> None:
            def read() -> dict[str, str]:
                items = site.get("/api/v1/targets?source=acme")["items"]
                return {item["target"]: item["state"] for item in items}

            wait_until(
                lambda: read() == expected, SECONDS, f"{expected}, not {read()}\n{site.read_log()}"
            )

        asked = {"target": "acme/t0", "revision": good, "reason": "slow"}
        wait_until(lambda: site.act("rollback", **asked)["digest"], SECONDS, "a plan")
        plan = site.act("rollback", **asked)
        assert [row["effect"] for row in plan["rows"]] == ["stays"]
        site.act("rollback", **asked, plan=plan["digest"])
        wait_for({"t0": "rolled back", "t1": "in sync"})
        site.kill_process(leader)
        site.wait_for_another_leader(leader)
        site.storages = 2
        mend = site.commit("mended")
        site.wait_for_end(mend, "success")
        wait_for({"t0": "in sync", "t1": "in sync"})
        site.check_all_run(leader)
        site.check_fleet_laws()


def test_a_rollback_is_asked_of_a_replica_that_has_worked_on_nothing(tmp_path, postgres):
    """Its mirror is empty: it fetches what it needs."""
    with FleetSite(tmp_path, interval="300s", server=postgres, target_count=1) as site:
        good = site.run_git("rev-parse", "HEAD")
        site.start_replica("first")
        site.wait_for_end(good, "success")
        site.storages = 1
        site.wait_for_end(site.commit("bad"), "success")
        site.port = site.start_replica("second").port
        asked = {"target": "acme/t0", "revision": good, "reason": "slow"}
        wait_until(lambda: site.act("rollback", **asked)["digest"], SECONDS, "a plan")
        site.act("rollback", **asked, plan=site.act("rollback", **asked)["digest"])
        (target,) = site.get("/api/v1/targets?target=acme/t0")["items"]
        assert target["rollback"]["commit"] == good
        site.check_all_run()
        site.check_fleet_laws()


def test_a_brake_outlives_the_leader(tmp_path, postgres):
    """Whichever replica applies next, it counts on, and holds what awaits a person."""
    with FleetSite(
        tmp_path,
        interval="1s",
        server=postgres,
        target_count=2,
        storages=2,
        rule="mode: auto, brake: hold",
        texts={"brake: {at_most_every: 1s}": "brake: {at_most_every: 1h}"},
    ) as site:
        good = site.run_git("rev-parse", "HEAD")
        first, second = site.start_replica("first"), site.start_replica("second")
        site.wait_for_end(good, "success")
        leader = site.find_leader()
        site.port = (second if leader is first else first).port

        def list_rows() -> list[dict[str, Any]]:
            rows = site.ask_backend("GET", "/_emulator/objects/storage/")["results"]
            return [row for row in rows if row["tenant"] == "t0"]

        def delete_one() -> None:
            (row,) = (row for row in list_rows() if row["body"]["name"] == "S 0")
            site.ask_backend("DELETE", f"/_emulator/objects/storage/{row['id']}/")

        def read_target() -> dict[str, Any]:
            (target,) = site.get("/api/v1/targets?target=acme/t0")["items"]
            return dict(target)

        def wait_for(state: str, count: int) -> None:
            wait_until(
                lambda: (read_target()["state"], len(list_rows())) == (state, count),
                SECONDS,
                f"{count} objects, {state}",
            )

        for number in range(3):
            if number == 2:
                site.kill_process(leader)
                site.wait_for_another_leader(leader)
            delete_one()
            wait_for("in sync", 3)
        delete_one()
        wait_for("held", 2)
        (hold,) = site.get("/api/v1/holds?target=acme/t0")["items"]
        assert hold["reason"] == "brake"
        looked_at = read_target()["looked_at"]
        wait_until(lambda: read_target()["looked_at"] != looked_at, SECONDS, "another check")
        wait_for("held", 2)
        site.act("resume", scope="acme/t0")
        wait_for("in sync", 3)
        site.check_all_run(leader)
        site.check_no_secret()


def test_a_brake_counts_what_workers_restore(tmp_path, postgres):
    """One count for all processes: three restores, whoever makes them, then each waits for a person."""
    with FleetSite(
        tmp_path, interval="1s", server=postgres, target_count=3, storages=1,
        rule="mode: auto, brake: hold",
        texts={"brake: {at_most_every: 1s}": "brake: {at_most_every: 1h}"},
    ) as site:  # fmt: skip
        good = site.run_git("rev-parse", "HEAD")
        site.start_replica("first")
        workers = [site.start_worker(name) for name in ("helper", "mate")]
        site.wait_for_end(good, "success")
        ids = {one for worker in workers for one in worker.list_process_ids()}
        before = len(site.writes)

        def delete_all() -> None:
            for row in site.ask_backend("GET", "/_emulator/objects/storage/")["results"]:
                if row["body"]["name"] == "S 0":
                    site.ask_backend("DELETE", f"/_emulator/objects/storage/{row['id']}/")

        def read_all() -> set[tuple[str, int]]:
            items = site.get("/api/v1/targets?source=acme")["items"]
            return {(one["state"], len(site.list_names_of(one["target"]))) for one in items}

        def wait_for(state: str, count: int) -> None:
            wait_until(
                lambda: read_all() == {(state, count)},
                SECONDS,
                f"{count} objects, {state}, not {read_all()}\n{site.read_log()}",
            )

        for _ in range(3):
            delete_all()
            ids |= {one for worker in workers for one in worker.list_process_ids()}
            wait_for("in sync", 2)
        restored = site.writes[before:]
        assert len(restored) == 9
        assert ids & {call.process_id for call in restored}
        delete_all()
        wait_for("held", 1)
        assert len(site.writes[before:]) == 9
        site.check_all_run()
