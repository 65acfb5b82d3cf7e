"""What a person reads at the end of a run of the playbook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

TEMPLATE = Path(__file__).parents[2] / "playbooks" / "templates" / "next_steps.j2"
LOADER = DataLoader()
GIVEN: dict[str, Any] = {
    "devpi_url": "http://127.0.0.1:3141",
    "devpi_username": "alice",
    "devpi_index": "dev",
    "devpi_users": [{"name": "alice"}],
    "devpi_root_password": "",
    "devpi_credentials_dir": "/etc/devpi/credentials",
    "devpi_pypirc_owner": "alice",
    "devpi_pypirc_repositories": [{"name": "alice-dev"}],
    "devpi_private": False,
    "__devpi_host": {"kept_passwords": []},
    "__devpi_users": {"generated": {"alice": "/etc/devpi/credentials/alice"}},
    "__devpi_users_root_is_open": False,
    "__devpi_trusted_ca": "",
    "__devpi_proxy_name": "index.example.com",
}
INDEX = "Index     http://127.0.0.1:3141/alice/dev"
PASSWORD = "Password  of user alice: sudo cat /etc/devpi/credentials/alice"
PUBLISH = 'Publish   FLIT_PASSWORD="$(sudo cat /etc/devpi/credentials/alice)" flit publish --repository alice-dev'
PLAIN = "Publish   flit publish --repository alice-dev"
INSTALL = "Install   pip install --index-url http://127.0.0.1:3141/alice/dev/+simple/ PACKAGE"
ROOT = "Root      of devpi had no password, and has one now: "


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({}, [INDEX, PASSWORD, PUBLISH, INSTALL]),
        (
            {"devpi_pypirc_owner": "root"},
            [INDEX, PASSWORD.replace("sudo ", ""), PUBLISH.replace("sudo ", ""), INSTALL],
        ),
        (
            {"devpi_users": [{"name": "bob"}, {"name": "alice", "password": "CANARY"}]},
            [INDEX, "Password  of user alice: as the inventory gives it", PLAIN, INSTALL],
        ),
        (
            {"__devpi_users": {"skipped": True}},
            [INDEX, "Password  of user alice: the one that you gave it", PLAIN, INSTALL],
        ),
        (
            {"__devpi_users": {"generated": {}}, "__devpi_host": {"kept_passwords": ["alice"]}},
            [INDEX, PASSWORD, PUBLISH, INSTALL],
        ),
        (
            {"__devpi_users_root_is_open": True},
            [INDEX, PASSWORD, f"{ROOT}sudo cat /etc/devpi/credentials/root", PUBLISH, INSTALL],
        ),
        (
            {"__devpi_users_root_is_open": True, "devpi_root_password": "CANARY"},
            [INDEX, PASSWORD, f"{ROOT}as the inventory gives it", PUBLISH, INSTALL],
        ),
        (
            {"devpi_private": True, "__devpi_trusted_ca": "/etc/ssl/devpi/ca.pem"},
            [
                INDEX,
                PASSWORD,
                PUBLISH.replace("FLIT", "REQUESTS_CA_BUNDLE=/etc/ssl/devpi/ca.pem FLIT"),
                "Login     for all reading, in ~/.netrc: machine index.example.com login alice password PASSWORD",
                INSTALL.replace("--index-url", "--cert /etc/ssl/devpi/ca.pem --index-url"),
            ],
        ),
        (
            {"devpi_pypirc_repositories": [], "devpi_credentials_dir": "/srv/a b"},
            [
                INDEX,
                "Password  of user alice: sudo cat '/srv/a b/alice'",
                "Publish   FLIT_PASSWORD=\"$(sudo cat '/srv/a b/alice')\" flit publish --repository NAME",
                INSTALL,
            ],
        ),
    ],
    ids=str,
)
def test_next_steps(given: dict[str, Any], lines: list[str]) -> None:
    template = trust_as_template(TEMPLATE.read_text("utf-8"))
    assert str(Templar(LOADER, {**GIVEN, **given}).template(template)).splitlines() == lines
