"""What an apply sends is nobody else's to see."""

from controllers.applying_site import read_process
from controllers.site import BACKEND_TOKEN, STATE_KEY, STORAGE_KEY

ANOTHER_KEY = "cAn4ry-of-another-storage-1212"
STORAGE_WITH_SECRET = """
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: with-secret}
spec:
  name: With secret
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: more-images
    region: us-west-2
    access_key_id: {valueFrom: {env: ACME_STORAGE_ID}}
    secret_access_key: {valueFrom: {env: ACME_STORAGE_ANOTHER_KEY}}
"""
# The same repository, whose targets may name nothing there.
ANOTHER_SOURCE = """
  another:
    url: GIT/acme.git
    credentials: {token: {env: FETCH_TOKEN}, user: x}
    poll: 1s
    may_read: {env: ["ANOTHER_*"]}
    hosts: ["HOST"]
    targets: {"*": {mode: auto}}
defaults: {interval"""


def test_what_an_apply_sends_is_seen_by_the_backend_alone(applying_site):
    """It is in no store, log, page, report or message, and in no worker but the source's own."""
    site = applying_site
    site.forks_workers = False  # what /proc shows of them is looked at
    site.environ["FETCH_TOKEN"] = site.environ["GIT_TOKEN"]
    site.environ |= {"ACME_STORAGE_ANOTHER_KEY": ANOTHER_KEY, "ACME_STORAGE_ID": "AKIAANOTHER"}
    host = site.backend_url.removeprefix("http://")
    another = ANOTHER_SOURCE.lstrip("\n").replace("GIT", site.git.url).replace("HOST", host)
    site.texts = {"defaults: {interval": another}
    site.write_configuration()
    (site.checkout / "manifests" / "secret.yaml").write_text(STORAGE_WITH_SECRET)
    site.start()
    commit = site.commit("other")
    site.wait_for_end(commit, "success")
    assert any(ANOTHER_KEY in call.body.decode() for call in site.writes)
    own = site.writes[-1].process_id
    [failing] = site.get("/api/v1/targets?source=another")["items"]
    assert failing["state"] == "failing"
    own_secrets = {BACKEND_TOKEN, STATE_KEY, STORAGE_KEY, ANOTHER_KEY}
    worker_ids = site.list_worker_ids()
    assert own in worker_ids
    assert len(worker_ids) >= 2
    for worker_id in worker_ids:
        seen = read_process(worker_id, "environ") + read_process(worker_id, "cmdline")
        allowed = own_secrets if worker_id == own else set()
        for canary in {*site.canaries} - allowed:
            assert canary.encode() not in seen
    site.check_laws()
