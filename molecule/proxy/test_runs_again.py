"""Further runs of the playbook: what they change, what they leave alone when something is wrong, and what they mend."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

from molecule.proxy.conftest import NAME, answer, basic, nginx_workers, serves

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from testinfra.host import Host

    from molecule.proxy.conftest import Outside, Runs

ONLY_ON = "devpi-proxy-12"
SITE = "/etc/nginx/conf.d/devpi.conf"


@contextlib.contextmanager
def sending(connection: ssl.SSLSocket, length: int) -> Iterator[None]:
    """Send a byte now and then, for nginx waits half a minute for the next, and at the end the rest."""
    stop, sent = threading.Event(), []

    def send() -> None:
        while not stop.wait(5):
            connection.sendall(b"x")
            sent.append(1)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()
    connection.sendall(b"x" * (length - len(sent)))


def test_limits_hold_and_a_reload_cuts_nobody_off(host: Host, outside: Outside, deploy: Runs) -> None:
    assert {outside.send("/+api").status for _dummy in range(30)} == {200}
    master = host.check_output("cat /run/nginx.pid")
    with outside.connect() as under_way:
        login = basic("team", host.check_output("cat /etc/devpi/credentials/team"))
        head = f"POST /team/dev/ HTTP/1.1\r\nHost: {NAME}\r\n{login}\r\nContent-Length: 100\r\n\r\n"
        under_way.sendall(head.encode())
        with sending(under_way, 100):
            code, changed, said = deploy(devpi_proxy_request_rate=1, devpi_proxy_connections=2)
        # the site, and that nginx takes it up
        assert (code, changed) == (0, 2), said
        assert answer(under_way, "POST").status in {400, 401, 403}
    assert host.check_output("cat /run/nginx.pid") == master
    slowed = [said for said in (outside.send("/+api") for _dummy in range(30)) if said.status == 429]
    assert len(slowed) >= 15
    assert {said.headers["Retry-After"] for said in slowed} == {"3"}
    assert {said.headers["Content-Type"] for said in slowed} == {"text/plain; charset=utf-8"}
    # until the limit on requests lets two more through
    time.sleep(5)
    held = [outside.connect() for _dummy in range(2)]
    for connection in held:
        connection.sendall(f"POST /+login HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 4\r\n\r\nab".encode())
    time.sleep(0.5)
    one_too_many = outside.send("/team/dev/+f/000/0000000000000/x-1.zip")
    assert (one_too_many.status, one_too_many.headers["Retry-After"]) == (429, "3")
    for connection in held:
        connection.close()
    code, changed, said = deploy()
    assert (code, changed) == (0, 2), said
    assert {outside.send("/+api").status for _dummy in range(30)} == {200}


def test_broken_site_leaves_the_old_one_up(host: Host, outside: Outside, deploy: Runs) -> None:
    before, at_work = host.file(SITE).content_string, nginx_workers(host)
    code, _changed, said = deploy(devpi_proxy_access_log="/nowhere/devpi.log")
    assert code != 0
    assert "nginx rejects the new configuration" in said
    assert "/nowhere/devpi.log" in said
    assert host.file(SITE).content_string == before
    assert host.run("nginx -t").rc == 0
    assert nginx_workers(host) == at_work
    assert serves(outside)
    assert sorted(host.file("/etc/nginx/conf.d").listdir()) == ["devpi.conf"]
    assert deploy()[0] == 0


def test_certificate_follows_the_names(host: Host, outside: Outside, deploy: Runs) -> None:
    authority = host.file("/etc/ssl/devpi/ca.pem").content_string

    def names() -> str:
        told: str = host.check_output("openssl x509 -in /etc/ssl/devpi/server.pem -noout -ext subjectAltName")
        return told

    before = names()
    predicted = deploy("--check", devpi_proxy_names=[NAME, "192.0.2.10", "2001:db8::1"])[1]
    code, changed, said = deploy(devpi_proxy_names=[NAME, "192.0.2.10", "2001:db8::1"])
    # the certificate, the site, and that nginx takes them up
    assert (code, changed, predicted) == (0, 3, 3), said
    assert "IP Address:192.0.2.10, IP Address:2001:DB8:0:0:0:0:0:1" in names()
    assert "index.example.com" not in names()
    # clients go on trusting the host
    assert host.file("/etc/ssl/devpi/ca.pem").content_string == authority
    assert serves(outside)
    assert deploy()[:2] == (0, 3)
    assert names() == before


def test_certificate_is_renewed_in_time(host: Host, outside: Outside, deploy: Runs) -> None:
    sign = "openssl x509 -req -in request -CA ca.pem -CAkey ca.key -set_serial 7 -days 89 -extfile names"
    host.check_output(
        "cd /etc/ssl/devpi && cp server.pem /root/key && openssl req -new -key /root/key -subj /CN=x -out request && "
        f"echo subjectAltName=DNS:{NAME},DNS:index.example.com >names && {sign} -out short && "
        "cat short /root/key >server.pem && rm short names request"
    )
    code, changed, said = deploy()
    assert (code, changed) == (0, 3), said
    assert host.run(f"openssl x509 -in /etc/ssl/devpi/server.pem -noout -checkend {800 * 86400}").rc == 0
    assert serves(outside)


def test_reload_that_is_owed_is_made(host: Host, outside: Outside, deploy: Runs) -> None:
    at_work = nginx_workers(host)
    # as a run leaves it that was killed before it told nginx
    host.check_output(
        f"cp -p {SITE} /root/site && sed -i 's/return 200 .[0-9a-f]*.;/return 200 before;/' {SITE}"
        f" && nginx -s reload && sleep 2 && cp -p /root/site {SITE}"
    )
    code, changed, said = deploy()
    assert (code, changed) == (0, 1), said
    assert not nginx_workers(host) & at_work
    assert deploy()[1] == 0
    assert serves(outside)


def test_file_of_the_server_that_nginx_may_not_read_is_opened_again(host: Host, deploy: Runs) -> None:
    top = "/var/lib/devpi/+files"
    # as from a copy of the data, or of a server that was not behind nginx
    host.check_output(f"mkdir -p {top}/x/y && echo 1 >{top}/x/y/z && chown -R devpi:devpi {top} && chmod -R go= {top}")
    host.check_output(f"touch /root/mine && chmod 0600 /root/mine && ln -s /root/mine {top}/x/link")
    code, changed, said = deploy()
    assert (code, changed) == (0, 1), said
    modes = host.check_output(f"find {top} ! -type l -printf '%y %m %u:%g\\n' | sort -u").splitlines()
    assert modes == ["d 2750 devpi:www-data", "f 640 devpi:www-data"]
    assert (host.file("/root/mine").group, host.file("/root/mine").mode) == ("root", 0o600)
    host.check_output(f"rm -r {top}/x")


def test_killed_runs_are_mended_by_the_next(host: Host, outside: Outside, deploy: Runs) -> None:
    # a certificate that is given is not for other names
    own = not host.file("/etc/ssl/given/server.pem").exists
    for number, seconds in enumerate((0.2, 1, 2, 3, 4, 5)):
        names = [NAME, f"n{number}.example.com"] if own else [NAME]
        with subprocess.Popen(
            deploy.command({"devpi_proxy_hsts": 100 + number, "devpi_proxy_names": names}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as run:
            assert run.stdout
            assert any(line.startswith("TASK [wheelhouse.devpi.proxy : ") for line in run.stdout)
            time.sleep(seconds)
            os.killpg(run.pid, signal.SIGKILL)
        subprocess.run(["docker", "exec", deploy.container, "pkill", "-9", "-f", "AnsiballZ"], check=False)
    code, _changed, said = deploy()
    assert code == 0, said
    assert deploy()[1] == 0
    assert sorted(host.file("/etc/nginx/conf.d").listdir()) == ["devpi.conf"]
    assert outside.send("/+api").headers["Strict-Transport-Security"] == "max-age=31536000"


def assert_refused(deploy: Runs, reasons: tuple[str, ...], **variables: object) -> None:
    code, changed, said = deploy(**variables)
    assert (code, changed) == (2, 0), said
    told = " ".join(said.split())
    for reason in ("Nothing was changed.", *reasons):
        assert reason in told, reason


def test_values_that_cannot_work_are_refused_beforehand(deploy: Runs) -> None:
    assert_refused(
        deploy,
        (
            "'a b', which is neither a host name nor an address",
            "devpi_proxy_networks[0] '192.0.2.1/24' is not a network",
        ),
        devpi_proxy_names=["packages.example.com", "a b"],
        devpi_proxy_networks=["192.0.2.1/24"],
    )


def test_what_cannot_work_on_the_host_is_refused_beforehand(deploy: Runs) -> None:
    assert_refused(
        deploy,
        (
            "'192.0.2.7' lets the network reach the server without nginx",
            "'unknown.invalid' is unknown on",
            "devpi_proxy_certificate and devpi_proxy_key go together",
            "/nowhere.pem is not a file",
            "'nobodys' is not a group",
        ),
        devpi_host="192.0.2.7",
        devpi_proxy_names=["unknown.invalid"],
        devpi_proxy_certificate="/nowhere.pem",
        devpi_proxy_key="",
        devpi_proxy_group="nobodys",
    )


def test_front_without_a_name_is_refused(deploy: Runs) -> None:
    code, changed, said = deploy(devpi_proxy_names=[])
    assert (code, changed) == (2, 0), said
    assert "devpi_proxy_names is empty" in said
