"""Further runs of the playbook where the certificate was given: a broken one is refused, another one is taken up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from molecule.proxy.conftest import nginx_workers, serves

if TYPE_CHECKING:
    from testinfra.host import Host

    from molecule.proxy.conftest import Outside, Runs

ONLY_ON = "devpi-proxy-13"


def test_broken_certificate_leaves_the_old_one_up(host: Host, outside: Outside, deploy: Runs) -> None:
    certificate = "/etc/ssl/given/server.pem"
    at_work = nginx_workers(host)
    host.check_output(f"cp -a {certificate} /root/kept.pem && echo broken >{certificate}")
    code, _changed, said = deploy()
    assert code != 0
    assert f"{certificate} and devpi_proxy_key" in said
    assert "are not a pair that nginx can use" in said
    assert nginx_workers(host) == at_work
    assert serves(outside)
    host.check_output(f"cp -a /root/kept.pem {certificate}")
    assert deploy()[:2] == (0, 0)
    # another file under the old name is taken up
    host.check_output(f"echo >>{certificate}")
    code, changed, said = deploy()
    assert (code, changed) == (0, 2), said
    assert not nginx_workers(host) & at_work
