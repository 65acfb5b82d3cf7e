"""The table "Who may do what" of the guide to security, each cell of it tried through nginx."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from molecule.proxy.conftest import logged_in, release, send
from molecule.proxy.test_private import JSON, PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from testinfra.host import Host

    from molecule.proxy.conftest import Outside, Runs, Said

ONLY_ON = "devpi-proxy-12"
INDEX = "/team/cells"
KIND = "Content-Type: application/json"
USERS = [*PRIVATE["devpi_users"]]
# What each is answered: a stranger, a devpi user without rights, one who may upload, devpi's root; open, then private
CELLS = {
    "install": ((200, 200, 200, 200), (401, 200, 200, 200)),
    "list users": ((200, 200, 200, 200), (401, 200, 200, 200)),
    "read the status": ((403, 403, 403, 403), (403, 403, 403, 403)),
    "upload": ((401, 403, 200, 403), (401, 403, 200, 403)),
    "upload test results": ((401, 403, 200, 403), (401, 403, 200, 403)),
    "upload documentation": ((401, 403, 200, 403), (401, 403, 200, 403)),
    "push": ((401, 401, 200, 401), (401, 401, 200, 401)),
    "change the own password": ((401, 200, 200, 200), (401, 200, 200, 200)),
    "change another's password": ((401, 403, 403, 200), (401, 403, 403, 200)),
    "make a user": ((401, 403, 403, 201), (401, 403, 403, 201)),
    "make an index": ((401, 403, 403, 200), (401, 403, 403, 200)),
    "change an index": ((401, 403, 403, 200), (401, 403, 403, 200)),
    # of a volatile index, as this one is
    "delete a release": ((401, 403, 200, 200), (401, 403, 200, 200)),
    "delete an index": ((401, 403, 403, 201), (401, 403, 403, 201)),
    "delete a user": ((401, 403, 403, 200), (401, 403, 403, 200)),
}
WHO = ["stranger", "ci", "team", "root"]


@pytest.fixture(scope="module", params=["open", "private"])
def mode(request: pytest.FixtureRequest, deploy: Runs, published: dict[str, str]) -> Iterator[str]:
    assert published
    variables = PRIVATE if request.param == "private" else {"devpi_users": USERS}
    code, _changed, said = deploy(**variables)
    assert code == 0, said
    yield request.param
    code, _changed, said = deploy()
    assert code == 0, said


@dataclass
class Login:
    """How somebody says who they are."""

    password: str
    header: str


@pytest.fixture(scope="module")
def logins(host: Host, outside: Outside, mode: str) -> dict[str, Login]:
    assert mode
    return {
        user: Login(host.check_output(f"cat /etc/devpi/credentials/{user}"), logged_in(host, outside, user))
        for user in WHO[1:]
    }


@pytest.fixture
def index(outside: Outside, logins: dict[str, Login]) -> Iterator[None]:
    """Make an index of which team alone is named, with a release, and a user that can be deleted."""
    root = logins["root"].header
    for path in (INDEX, "/team/made", "/ci/made", "/root/made", "/stranger/made", "/made", "/spare"):
        outside.send(path, root, JSON, method="DELETE")
    settings = {
        "type": "stage",
        "bases": [],
        "volatile": True,
        "acl_upload": ["team"],
        "acl_toxresult_upload": ["team"],
    }
    assert send(outside, INDEX, root, KIND, method="PUT", body=json.dumps(settings).encode()).status == 200
    assert send(outside, "/spare", root, KIND, method="PUT", body=b'{"password": "Canary7f3"}').status == 201
    kind, body = release("cell")
    assert send(outside, f"{INDEX}/", logins["team"].header, kind, body=body).status == 200
    yield
    for path in (INDEX, "/team/made", "/ci/made", "/root/made", "/made", "/spare"):
        outside.send(path, root, JSON, method="DELETE")


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("does", CELLS)
def test_cell(outside: Outside, mode: str, logins: dict[str, Login], does: str, who: str) -> None:
    login = () if who == "stranger" else (logins[who].header,)
    root = logins["root"].header
    found = outside.send(f"{INDEX}/cell/1.0", root, JSON)
    file = "/" + json.loads(found.text)["result"]["+links"][0]["href"].split("/", 3)[3].split("#")[0]
    other = "ci" if who != "ci" else "team"

    def change(path: str, method: str, **content: object) -> Said:
        return send(outside, path, *login, KIND, JSON, method=method, body=json.dumps(content).encode())

    def upload(name: str, action: str = "file_upload") -> Said:
        kind, body = release(name)
        return send(outside, f"{INDEX}/", *login, kind, body=body.replace(b"file_upload", action.encode()))

    tries: dict[str, Callable[[], Said]] = {
        "install": lambda: outside.send("/team/dev/+simple/front/", "User-Agent: pip/25.0", *login),
        "list users": lambda: outside.send("/", JSON, *login),
        "read the status": lambda: outside.send("/+status", JSON, *login),
        "upload": lambda: upload("another"),
        "upload test results": lambda: change(file, "POST", testenvs={}),
        "upload documentation": lambda: upload("cell", "doc_upload"),
        "push": lambda: change(INDEX, "POST", name="cell", version="1.0", targetindex=INDEX.strip("/")),
        "change the own password": lambda: change(
            f"/{who}", "PATCH", password="x" if who == "stranger" else logins[who].password
        ),
        "change another's password": lambda: change(f"/{other}", "PATCH", password=logins[other].password),
        "make a user": lambda: change("/made", "PUT", password="Canary7f3"),
        "make an index": lambda: change(f"/{who}/made", "PUT"),
        "change an index": lambda: change(INDEX, "PATCH", title="x"),
        "delete a release": lambda: outside.send(f"{INDEX}/cell/1.0", JSON, *login, method="DELETE"),
        "delete an index": lambda: outside.send(INDEX, JSON, *login, method="DELETE"),
        "delete a user": lambda: outside.send("/spare", JSON, *login, method="DELETE"),
    }
    said = tries[does]()
    assert said.status == CELLS[does][mode == "private"][WHO.index(who)], said.text
