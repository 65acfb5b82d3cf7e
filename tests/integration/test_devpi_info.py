"""The module devpi_info against real devpi-servers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.wheelhouse.devpi.plugins.modules import devpi_info

if TYPE_CHECKING:
    from conftest import Devpi, Result, Upstream


def info(devpi: Devpi, **arguments: object) -> Result:
    """Run the module, which never changes anything, in check mode too."""
    arguments = {"url": devpi.url, **arguments}
    before = devpi.tree()
    result = devpi.run("devpi_info", arguments)
    asked = len(devpi.requests())
    checked = devpi.run("devpi_info", arguments, check=True)
    assert [each for each in devpi.requests()[asked:] if not each.startswith(("GET", "POST /+login"))] == []
    assert devpi.tree() == before
    for name in set(result.values) - {"invocation", "status"}:
        assert checked[name] == result[name], name
    assert result["failed" if "msg" in result.values else "changed"] is ("msg" in result.values)
    assert "CANARY" not in result.output
    assert devpi.root_password not in result.output
    return result


def refused(devpi: Devpi, **arguments: object) -> str:
    return str(info(devpi, **arguments)["msg"])


def asked_by(devpi: Devpi, **arguments: object) -> tuple[list[str], Result]:
    before = len(devpi.requests())
    result = devpi.run("devpi_info", {"url": devpi.url, **arguments})
    return devpi.requests()[before:], result


@pytest.fixture
def team(devpi: Devpi) -> Devpi:
    """Return a server with releases on team/production, and on team/dev, which builds on it."""
    devpi.make("team/production", volatile=False)
    devpi.make("team/dev", bases=["team/production"])
    for version in ("1.9", "1.10"):
        devpi.upload("team/production", "Latex_Helper", version, f"latex_helper-{version}-py3-none-any.whl")
    devpi.upload("team/production", "Latex_Helper", "1.10", "Latex_Helper-1.10.tar.gz", requires_python=">=3.8")
    devpi.upload("team/dev", "latex-helper", "1.11rc1", "latex_helper-1.11rc1-py3-none-any.whl")
    devpi.upload("team/production", "texfonts", "0.1", "texfonts-0.1.tar.gz")
    return devpi


def test_users_indexes_versions_and_status(team: Devpi) -> None:
    requests, result = asked_by(team)
    assert requests == ["GET /+status", "GET /"]
    info(team)
    tree = team.tree()
    assert set(tree) == {"root", "team"}
    expected = {name: {**tree[name], "indexes": sorted(tree[name]["indexes"])} for name in tree}
    assert result["users"] == expected
    assert result["users"]["team"]["indexes"] == ["dev", "production"]
    assert set(result["indexes"]) == {"root/pypi", "team/dev", "team/production"}
    there = team.ask("GET", "/")
    for path, settings in result["indexes"].items():
        user, name = path.split("/")
        assert settings == there[user]["indexes"][name]
    assert result["indexes"]["team/dev"]["bases"] == ["team/production"]
    status = team.ask("GET", "/+status")
    assert result["versions"] == status["versioninfo"]
    assert "devpi-server" in result["versions"]
    assert set(result["status"]) == set(status)
    # What the server does in the background moves the rest while it is asked.
    for name in ("role", "serial", "uuid", "outside-url", "versioninfo"):
        assert result["status"][name] == status[name]
    assert result["version"] == ".".join(map(str, team.version()))
    assert result["dialect"] == team.version()[0]


@pytest.mark.parametrize(
    ("gather", "requests"),
    [
        (["versions"], ["GET /+status"]),
        (["status", "versions"], ["GET /+status"]),
        (["users"], ["GET /"]),
        (["indexes"], ["GET /"]),
        ([], ["GET /+api"]),
    ],
)
def test_only_what_is_gathered_is_asked_for(devpi: Devpi, gather: list[str], requests: list[str]) -> None:
    asked, result = asked_by(devpi, gather=gather)
    assert asked == requests
    assert set(result.values) == {*gather, "changed", "version", "dialect", "invocation"}
    assert result["dialect"] in (6, 7)


@pytest.mark.parametrize(
    ("gather", "requests"),
    [
        (["indexes"], ["GET /team/dev"]),
        (["users", "indexes"], ["GET /team/dev", "GET /"]),
        (["projects"], ["GET /team/dev", "GET /team/dev"]),
        (["releases"], ["GET /team/dev", "GET /team/dev", "GET /team/dev/+simple/latex-helper/"]),
        (["status"], ["GET /+status"]),
    ],
)
def test_only_what_is_gathered_of_an_index_is_asked_for(team: Devpi, gather: list[str], requests: list[str]) -> None:
    asked, result = asked_by(team, gather=gather, index="team/dev")
    assert asked == requests
    assert set(result.values) == {*gather, "changed", "version", "dialect", "invocation"}
    if "indexes" in gather:
        assert result["indexes"] == {"team/dev": team.ask("GET", "/team/dev?no_projects=")}


def test_the_releases_of_an_index(team: Devpi) -> None:
    result = info(team, index="team/production", gather=["projects", "releases"])
    assert result["projects"] == ["latex-helper", "texfonts"]
    assert set(result["releases"]) == {"latex-helper", "texfonts"}
    newest, oldest = result["releases"]["latex-helper"]
    assert (newest["version"], oldest["version"]) == ("1.10", "1.9")
    assert [each["filename"] for each in newest["files"]] == [
        "Latex_Helper-1.10.tar.gz",
        "latex_helper-1.10-py3-none-any.whl",
    ]
    for file in [*newest["files"], *oldest["files"]]:
        with urllib.request.urlopen(file["url"], timeout=30) as response:  # noqa: S310 - loopback
            content = response.read()
        assert content.decode() == file["filename"]
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["size"] == (len(content) if team.version()[0] == 7 else None)
        assert file["index"] == "team/production"
        assert file["yanked"] is False
    # devpi-server 6 keeps it by release, 7 by file.
    of_wheel = None if team.version()[0] == 7 else ">=3.8"
    assert [each["requires_python"] for each in newest["files"]] == [">=3.8", of_wheel]
    assert [each["requires_python"] for each in oldest["files"]] == [None]


def versions(result: Result, project: str) -> list[str]:
    return [each["version"] for each in result["releases"][project]]


def test_releases_of_bases_only_where_they_are_asked_for(team: Devpi) -> None:
    own = info(team, index="team/dev")
    assert set(own["releases"]) == {"latex-helper"}
    assert versions(own, "latex-helper") == ["1.11rc1"]
    everything = info(team, index="team/dev", inherited=True)
    assert set(everything["releases"]) == {"latex-helper"}
    assert versions(everything, "latex-helper") == ["1.11rc1", "1.10", "1.9"]
    assert [each["files"][0]["index"] for each in everything["releases"]["latex-helper"]] == [
        "team/dev",
        "team/production",
        "team/production",
    ]


def test_one_project_in_any_spelling(team: Devpi) -> None:
    gather = ["projects", "releases"]
    one = info(team, index="team/production", project="LATEX_helper", gather=gather)
    assert one["projects"] == ["latex-helper"]
    assert versions(one, "latex-helper") == ["1.10", "1.9"]
    none = info(team, index="team/dev", project="texfonts", gather=gather)
    assert none["projects"] == []
    assert none["releases"] == {"texfonts": []}
    inherited = info(team, index="team/dev", project="texfonts", gather=gather, inherited=True)
    assert inherited["projects"] == []
    assert versions(inherited, "texfonts") == ["0.1"]
    nowhere = info(team, index="team/dev", project="nowhere", gather=gather, inherited=True)
    assert nowhere["releases"] == {"nowhere": []}


def wheel(project: str, version: str, **more: object) -> dict[str, Any]:
    filename = f"{project}-{version}-py3-none-any.whl"
    return {"filename": filename, "url": f"../../files/{filename}", "hashes": {}, **more}


def test_a_mirror_is_asked_for_one_project_and_never_for_all(mirroring_devpi: Devpi, upstream: Upstream) -> None:
    digest = "ab" * 32
    upstream.pages["tool"] = [
        wheel("tool", "2.0", hashes={"sha256": digest}, yanked="broken", **{"requires-python": ">=3.9"}),
        wheel("tool", "1.0"),
    ]
    mirroring_devpi.make("team/mirror", mirror_url=upstream.url("user:CANARY@"))
    mirroring_devpi.make("team/dev", bases=["team/mirror"])
    mirroring_devpi.upload("team/dev", "own", "1.0", "own-1.0.tar.gz")

    for gather in (["projects"], ["releases"]):
        message = refused(mirroring_devpi, index="team/mirror", gather=gather)
        assert "team/mirror is a mirror" in message
        assert "name one as project" in message
    settings = info(mirroring_devpi, index="team/mirror", gather=["indexes"])["indexes"]["team/mirror"]
    [masked] = [value for key, value in settings.items() if key in ("mirror_url", "remote_url")]
    assert masked == upstream.url("user:********@")

    assert info(mirroring_devpi, index="team/dev")["releases"]["own"][0]["version"] == "1.0"
    assert info(mirroring_devpi, index="team/dev", project="tool")["releases"] == {"tool": []}
    assert upstream.asked == [], "what is about an index's own projects asked the mirror among its bases"

    arguments = {"index": "team/mirror", "project": "Tool", "gather": ["projects", "releases"]}
    # The second request for team/mirror would be the one with its projects.
    assert asked_by(mirroring_devpi, **arguments)[0] == ["GET /team/mirror", "GET /team/mirror/+simple/tool/"]
    result = info(mirroring_devpi, **arguments)
    assert result["projects"] == ["tool"]
    newest, oldest = result["releases"]["tool"]
    assert newest["files"][0]["sha256"] == digest
    assert newest["files"][0]["yanked"] == "broken"
    assert newest["files"][0]["requires_python"] == ">=3.9"
    assert newest["files"][0]["index"] == "team/mirror"
    assert newest["files"][0]["url"].startswith(f"{mirroring_devpi.url}/team/mirror/")
    assert (oldest["version"], oldest["files"][0]["sha256"]) == ("1.0", None)
    inherited = info(mirroring_devpi, index="team/dev", project="tool", inherited=True)
    assert versions(inherited, "tool") == ["2.0", "1.0"]
    gone = info(mirroring_devpi, index="team/mirror", project="gone", gather=["projects", "releases"])
    assert (gone["projects"], gone["releases"]) == ([], {"gone": []})
    assert set(upstream.asked) == {"/simple/tool/", "/simple/gone/"}


def test_a_mirror_whose_upstream_does_not_answer(mirroring_devpi: Devpi) -> None:
    mirroring_devpi.make("team/mirror", mirror_url="http://user:CANARY@127.0.0.1:9/simple/")
    message = refused(mirroring_devpi, index="team/mirror", project="tool")
    assert f"GET {mirroring_devpi.url}/team/mirror/tool: devpi-server" in message
    assert "answered 502" in message
    assert "127.0.0.1:9/simple/tool/" in message


def test_nothing_secret_in_the_result(devpi: Devpi) -> None:
    devpi.make("team/one", mirror_url="http://user:CANARY-p@ss@127.0.0.1:9/simple/")
    devpi.make("team/two", mirror_url="http://CANARY-token@127.0.0.1:9/simple/", title="of http://u:CANARY@x/ & more")
    result = info(devpi)
    one, two = (result["indexes"][f"team/{name}"] for name in ("one", "two"))
    key = "remote_url" if devpi.version()[0] == 7 else "mirror_url"
    assert one[key] == "http://user:********@127.0.0.1:9/simple/"
    assert two[key] == "http://********@127.0.0.1:9/simple/"
    assert two["title"] == "of http://u:********@x/ & more"


def test_a_login_only_where_a_password_is_given(team: Devpi) -> None:
    asked, result = asked_by(team, gather=["indexes"], password=team.root_password)
    assert asked == ["POST /+login", "GET /"]
    assert "team/dev" in result["indexes"]
    info(team, password=team.root_password)
    message = refused(team, password="CANARY")
    assert "does not accept the password given for root" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gather": ["users", "releases"]}, "gather has releases, which are of one index; name it as index"),
        ({"project": "latexhelper"}, "project latexhelper is given without the index"),
        ({"index": "production"}, "index 'production' is not of the form user/index"),
        ({"index": "team/dev?x"}, "is not of the form user/index"),
        ({"index": "team/dev", "project": "a/b"}, "project 'a/b' is not the name of a project"),
        ({"index": "team/nowhere"}, "has no index team/nowhere"),
        ({"gather": ["everything"]}, "value of gather must be one or more of"),
        ({"url": "http://127.0.0.1:9"}, "nothing listens there"),
    ],
)
def test_what_cannot_be_told_is_refused(devpi: Devpi, arguments: dict[str, Any], message: str) -> None:
    assert message in refused(devpi, **arguments)


@pytest.mark.once
def test_the_examples_of_the_documentation(devpi: Devpi, tmp_path: Path) -> None:
    devpi.make("team/production")
    devpi.make("team/dev", bases=["root/pypi"])
    devpi.upload("team/production", "latexhelper", "1.1", "latexhelper-1.1.tar.gz")
    tasks = devpi_info.EXAMPLES.replace("http://127.0.0.1:3141", devpi.url)
    playbook = tmp_path / "play.yml"
    indented = "\n".join(f"    {line}" for line in tasks.splitlines())
    playbook.write_text(f"- hosts: localhost\n  gather_facts: false\n  tasks:\n{indented}\n")
    command = [str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), "-i", "localhost,"]
    command += ["-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]

    def play() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=devpi.environment(), cwd=tmp_path, capture_output=True, text=True, check=False
        )

    passed = play()
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert '"msg": [\n        "team/dev"\n    ]' in passed.stdout
    assert "ok=4" in passed.stdout
    devpi.upload("team/production", "latexhelper", "1.2", "latexhelper-1.2.tar.gz")
    assert play().returncode == 2, "the release is there, and the last task has not stopped"
    assert json.dumps("1.2") not in passed.stdout
