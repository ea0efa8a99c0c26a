"""What is said when a bucket cannot be used, and which answers decide nothing."""

from __future__ import annotations

import socket
import ssl
import subprocess
from threading import Thread

import pytest
from buckets.folders import open_folder_at
from buckets.servers import SECRET_KEY, MotoServer, free_ports
from forges.loopback_server import wait_until

from synapse_apply import SynapseApplyError


def error(code, more=""):
    """An answer of S3."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code>{more}</Error>".encode()


def refusal(use):
    """What is said to people, without any of the secrets and the texts of others."""
    with pytest.raises(SynapseApplyError) as caught:
        use()
    problem = caught.value
    finding = problem.diagnostics[0]
    words = f"{finding.summary}. {finding.detail} {finding.hint}"
    seen = f"{words} {problem.__cause__} {problem.__context__}"
    for secret in (SECRET_KEY, "tests/", "Signature", "x-amz", "Debug source", "quoted"):
        assert secret not in seen
    return words


ANSWERS = [
    ((404, error("NoSuchBucket")), "The state's bucket does not exist", "Create the bucket"),
    ((403, error("AccessDenied")), "refuses access", "s3:ListBucket"),
    ((403, error("InvalidAccessKeyId")), "needs different credentials", "AWS_ACCESS_KEY_ID"),
    ((400, error("ExpiredToken")), "needs different credentials", "export-credentials"),
    ((403, error("RequestTimeTooSkewed")), "This machine's clock is wrong", "timedatectl"),
    ((301, error("PermanentRedirect")), "in a different region", "?region=NAME"),
    ((400, error("AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>")),
     "in a different region", "?region=eu-west-1"),
    ((404, b"<html>quoted</html>"), "The endpoint is not an object store", "endpoint="),
    ((418, error("Quoted", "quoted")), "The state cannot be used", "418 Quoted"),
    # What was sent, in the place of a code.
    *(((403, error(code)), "refuses access", "the store answered 403.")
      for code in ("AccessDenied" + SECRET_KEY, SECRET_KEY, "a" * 12, "Token9x8y7z6w5v", "Word" * 13)),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "summary", "hint"), ANSWERS, ids=lambda value: str(value)[:30])
def test_each_refusal_has_a_way_out(spoiled, proxy, answer, summary, hint):
    """Whatever was asked."""
    proxy.choose = lambda _method, _path: answer
    for use in (
        lambda: spoiled.get_or_none_if_absent("links/1"),
        lambda: spoiled.list_objects("links/"),
        lambda: spoiled.try_put_if_absent_and_tell_if_certain("links/1", b"x"),
    ):
        words = refusal(use)
        assert summary in words
        assert hint in words
        assert "s3://states/" in words


def test_a_page_is_no_list_and_no_object_is_made_by_it(spoiled, proxy):
    """A server that answers 200 to everything."""
    proxy.choose = lambda _method, _path: (200, b"<html><br>quoted</html>")
    for use in (
        lambda: spoiled.list_objects("links/"),
        lambda: spoiled.try_put_if_absent_and_tell_if_certain("links/1", b"x"),
    ):
        assert "The endpoint is not an object store" in refusal(use)


@pytest.mark.parametrize("status", [408, 409, 412, 429, 500, 503])
def test_an_answer_that_may_have_met_our_own_object_decides_nothing(spoiled, proxy, status):
    """The caller reads the object."""
    spoiled._deadline = 0.6  # some are asked for again until then
    proxy.choose = lambda _method, _path: (status, error("Some"))
    assert spoiled.try_put_if_absent_and_tell_if_certain("links/1", b"x") is False


@pytest.mark.parametrize(
    ("fate", "seconds", "is_there"), [("before", 0.6, False), ("after", 2.0, True)]
)
def test_a_lost_answer_decides_nothing(spoiled, proxy, fate, seconds, is_there):
    """Whether the request arrived or not: whoever made it reads it, and then knows."""
    usual, spoiled._deadline = spoiled._deadline, seconds
    proxy.choose = lambda method, _path: fate if method == "PUT" else None
    assert spoiled.try_put_if_absent_and_tell_if_certain("links/1", b"x") is False
    spoiled._deadline = usual  # a busy machine answers late
    assert (spoiled.get_or_none_if_absent("links/1") is not None) == is_there


def test_a_fault_of_the_store_is_met_again_before_it_is_told(spoiled, proxy):
    """It may pass; what is recorded is safe meanwhile."""
    proxy.choose = lambda _method, _path: (503, error("SlowDown"))
    words = refusal(lambda: spoiled.get_or_none_if_absent("links/1"))
    assert "The state bucket's server reported an error" in words
    assert "503 SlowDown" in words
    assert "Everything recorded before is kept" in words
    assert proxy.count()["GET"] > 2


def test_a_deadline_ends_an_operation_also_where_the_server_is_silent(spoiled, proxy):
    """A write decides nothing; a read says so."""
    spoiled._deadline = 0.6
    proxy.choose = lambda _method, _path: 1.5  # then the answer to all comes
    assert spoiled.try_put_if_absent_and_tell_if_certain("links/1", b"x") is False
    assert "no answer arrived in time" in refusal(lambda: spoiled.get_or_none_if_absent("links/2"))


def test_a_broken_connection_is_tried_again(spoiled, proxy):
    """Once lost, once found."""
    assert spoiled.try_put_if_absent_and_tell_if_certain("links/1", b"x")
    fates = iter(["before"])
    proxy.choose = lambda _method, _path: next(fates, None)
    assert spoiled.get_or_none_if_absent("links/1") == b"x"


def test_what_may_not_be_deleted_is_counted(spoiled, proxy):
    """And is no error."""
    spoiled.try_put_if_absent_and_tell_if_certain("links/1", b"x")
    proxy.choose = lambda method, _path: (
        (403, error("AccessDenied")) if method == "DELETE" else None
    )
    assert spoiled.delete_and_count_undeleted(["links/1", "links/2"]) == 2


def test_a_port_where_nobody_listens(moto):
    """Nothing was sent, so that a write is an error, too."""
    folder = open_folder_at(moto.url(port=free_ports(1)[0]), moto.environ)
    for use in (
        lambda: folder.get_or_none_if_absent("links/1"),
        lambda: folder.try_put_if_absent_and_tell_if_certain("links/1", b"x"),
    ):
        words = refusal(use)
        assert "The state's bucket cannot be reached" in words
        assert "the connection was refused" in words
    folder.close()


def test_without_credentials_it_is_said_where_they_are_looked_for(moto):
    """The client asks the machine's own service last, where there is one."""
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    folder = open_folder_at(moto.url(), {"AWS_METADATA_ENDPOINT": nowhere})
    assert "needs different credentials" in refusal(lambda: folder.get_or_none_if_absent("links/1"))
    folder.close()


def test_a_certificate_that_nobody_trusts(tmp_path, moto):
    """And a server that speaks no TLS at all."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        Thread(target=greet, args=(listener, context), daemon=True).start()
        folder = open_folder_at(moto.url(port=port).replace("http:", "https:"), moto.environ)
        words = refusal(lambda: folder.get_or_none_if_absent("links/1"))
        folder.close()
    assert "The bucket server's certificate is not trusted" in words
    assert "AWS_CA_BUNDLE" in words
    folder = open_folder_at(moto.url().replace("http:", "https:"), moto.environ)
    assert "the server does not speak TLS" in refusal(
        lambda: folder.get_or_none_if_absent("links/1")
    )
    folder.close()


def greet(listener, context):
    """Begin TLS with everybody who comes."""
    while True:
        try:
            client, _ = listener.accept()
            context.wrap_socket(client, server_side=True).close()
        except ssl.SSLError:
            client.close()
        except OSError:
            return


def test_a_malformed_credential_is_not_quoted():
    """Neither it nor what the client says of it."""
    environ = {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_SAS_TOKEN": "s3cr3t"}
    with pytest.raises(SynapseApplyError) as caught:
        open_folder_at("az://states/x", environ)
    assert "s3cr3t" not in f"{caught.value.diagnostics} {caught.value.__context__}"
    assert "malformed" in caught.value.diagnostics[0].detail


def test_a_bucket_that_is_not_there(moto: MotoServer):
    """As a real server says it, of an object, too: it is no absent object."""
    folder = open_folder_at(moto.url().replace("//states/", "//others/"), moto.environ)
    for use in (
        lambda: folder.get_or_none_if_absent("links/1"),
        lambda: folder.list_objects("links/"),
    ):
        assert "The state's bucket does not exist" in refusal(use)
    folder.close()


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    """It is asked for a way to the endpoint; what it says is no answer of a store."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        asked = []
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        Thread(target=refuse_way, args=(proxy, asked), daemon=True).start()
        environ = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        url = "s3://states/x?endpoint=https://s3.example.test"
        folder = open_folder_at(url, environ, deadline=0.5)
        words = refusal(lambda: folder.get_or_none_if_absent("links/1"))
        folder.close()
        wait_until(lambda: asked, 60, "it is asked")
    assert asked[0].startswith(b"CONNECT s3.example.test:443 ")
    assert "The state's bucket cannot be reached" in words
    assert "proxy" in words


def refuse_way(listener, asked):
    """Answer each as a proxy that lets nobody through."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            asked.append(connection.recv(1000))
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
