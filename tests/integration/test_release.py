"""The lookup release against real devpi-servers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from ansible.errors import AnsibleError
from ansible.plugins.loader import init_plugin_loader, lookup_loader

# As Ansible does, to load a plugin by its name. Before anything else of the collection is imported, or Python itself
# would have found that, and Ansible no longer does; so these tests run in a process of their own.
init_plugin_loader([str(Path(sys.prefix, "collections"))])

from ansible_collections.wheelhouse.devpi.plugins.lookup import release  # noqa: E402

if TYPE_CHECKING:
    from conftest import Devpi, Upstream


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"DEVPI_{name}", raising=False)


def find(devpi: Devpi, term: str, index: str = "team/dev", **options: object) -> dict[str, Any]:
    options = {"url": devpi.url, "index": index, **options}
    [found] = lookup_loader.get("wheelhouse.devpi.release").run([term], {}, **options)
    assert "CANARY" not in json.dumps(found)
    return dict(found)


def refused(devpi: Devpi, term: str, index: str = "team/dev", **options: object) -> str:
    with pytest.raises(AnsibleError) as error:
        find(devpi, term, index, **options)
    assert "CANARY" not in str(error.value)
    return str(error.value)


@pytest.fixture
def team(devpi: Devpi) -> Devpi:
    """Return a server with final releases on team/production and a pre-release on team/dev, which builds on it."""
    devpi.make("team/production", volatile=False)
    devpi.make("team/dev", bases=["team/production"])
    for version in ("1.9", "1.10"):
        devpi.upload("team/production", "Latex_Helper", version, f"latex_helper-{version}-py3-none-any.whl")
        devpi.upload("team/production", "Latex_Helper", version, f"Latex_Helper-{version}.tar.gz")
    devpi.upload("team/dev", "Latex_Helper", "2.0rc1", "latex_helper-2.0rc1-py3-none-any.whl")
    return devpi


def test_the_newest_final_release_with_its_files(team: Devpi) -> None:
    found = find(team, "latex.HELPER")
    assert found["project"] == "latex-helper"
    assert found["version"] == "1.10"
    assert found["filename"] == "latex_helper-1.10-py3-none-any.whl"
    assert found["yanked"] is False
    assert [each["filename"] for each in found["files"]] == [
        "Latex_Helper-1.10.tar.gz",
        "latex_helper-1.10-py3-none-any.whl",
    ]
    for file in [found, *found["files"]]:
        with urlopen(file["url"], timeout=30) as response:  # noqa: S310 - loopback
            assert hashlib.sha256(response.read()).hexdigest() == file["sha256"]
        assert file["url"].startswith(f"{team.url}/team/production/+f/")
    assert {each["index"] for each in found["files"]} == {"team/production"}
    assert find(team, "latex-helper", prefer="sdist")["filename"] == "Latex_Helper-1.10.tar.gz"


@pytest.mark.parametrize(
    ("term", "options", "version"),
    [
        ("latex-helper<1.10", {}, "1.9"),
        ("latex-helper >=1, <2", {}, "1.10"),
        ("latex-helper~=1.9", {}, "1.10"),
        ("latex-helper==1.9.*", {}, "1.9"),
        ("latex-helper!=1.10", {}, "1.9"),
        # A pre-release only where it is asked for, one way or the other, and the second way only without a final one
        ("latex-helper", {"prereleases": True}, "2.0rc1"),
        ("latex-helper>=1.9rc1", {}, "1.10"),
        ("latex-helper>=2.0rc1", {}, "2.0rc1"),
        ("latex-helper==2.0rc1", {}, "2.0rc1"),
        ("latex-helper>=1.9rc1", {"prereleases": True}, "2.0rc1"),
    ],
)
def test_which_release_is_the_newest(team: Devpi, term: str, options: dict[str, Any], version: str) -> None:
    found = find(team, term, **options)
    assert found["version"] == version
    assert all(f"-{version}" in each["filename"] for each in [found, *found["files"]])


def test_several_projects_and_the_environment(team: Devpi, monkeypatch: pytest.MonkeyPatch) -> None:
    team.upload("team/dev", "texfonts", "0.1", "texfonts-0.1.tar.gz")
    monkeypatch.setenv("DEVPI_URL", team.url)
    monkeypatch.setenv("DEVPI_USERNAME", "root")
    monkeypatch.setenv("DEVPI_PASSWORD", team.root_password)
    asked = len(team.requests())
    found = lookup_loader.get("wheelhouse.devpi.release").run(["texfonts", "latex-helper<2"], {}, index="team/dev")
    assert [(each["project"], each["version"]) for each in found] == [("texfonts", "0.1"), ("latex-helper", "1.10")]
    # Without a wheel it is the source archive.
    assert found[0]["filename"] == "texfonts-0.1.tar.gz"
    assert team.requests()[asked:] == [
        "POST /+login",
        "GET /team/dev/+simple/texfonts/",
        "GET /team/dev/+simple/latex-helper/",
    ]
    monkeypatch.setenv("DEVPI_PASSWORD", "CANARY")
    assert "does not accept the password given for root" in refused(team, "texfonts")
    monkeypatch.delenv("DEVPI_PASSWORD")
    asked = len(team.requests())
    find(team, "texfonts")
    assert team.requests()[asked:] == ["GET /team/dev/+simple/texfonts/"]


def test_what_is_not_there(team: Devpi) -> None:
    place = f"on team/dev of {team.url}: "
    assert f"latex-helper>=3 {place}no release fits; there are 2.0rc1, 1.10, 1.9" in refused(team, "latex-helper>=3")
    message = refused(team, "latex-helper>1.10")
    assert "latex-helper>1.10 on team/dev" in message
    assert "only pre-releases fit (2.0rc1); set prereleases=true to accept them; there are 2.0rc1, 1.10, 1.9" in message
    message = refused(team, "latexhelper")
    assert f"latexhelper {place}neither the index nor a base of it has files of the project" in message
    message = refused(team, "latex-helper", index="team/nowhere")
    assert f"latex-helper on team/nowhere of {team.url}: there is no such index" in message
    assert refused(team, "latex-helper", index="team/production", url="http://127.0.0.1:9").count("refused") == 1


@pytest.mark.parametrize(
    ("term", "options", "message"),
    [
        ("latexhelper>>1", {}, "'latexhelper>>1' is not a project with versions"),
        ("", {}, "'' is not a project with versions"),
        ("latexhelper @ http://u:p@x/y.whl", {}, "has more than a project and versions"),
        ("latexhelper; python_version<'4'", {}, "has more than a project and versions"),
        ("latexhelper", {"index": "production"}, "index 'production' is not of the form user/index"),
        ("latexhelper", {"url": "http://user:CANARY@127.0.0.1:9"}, "url has credentials in front of 127.0.0.1"),
        ("latexhelper", {"prefer": "egg"}, "prefer"),
    ],
)
def test_what_cannot_be_asked_for(devpi: Devpi, term: str, options: dict[str, Any], message: str) -> None:
    asked = devpi.requests()
    assert message in refused(devpi, term, **options)
    assert devpi.requests() == asked


def wheel(version: str, tag: str = "py3-none-any", **more: object) -> dict[str, Any]:
    filename = f"tool-{version}-{tag}.whl"
    return {"filename": filename, "url": f"../../files/{filename}", "hashes": {"sha256": "ab" * 32}, **more}


def test_a_project_of_a_mirror_among_the_bases(mirroring_devpi: Devpi, upstream: Upstream) -> None:
    upstream.pages["tool"] = [
        wheel("3.0", yanked="broken"),
        {**wheel("2.0"), "requires-python": ">=3.9"},
        wheel("1.0"),
    ]
    mirroring_devpi.make(
        "team/mirror",
        mirror_url=upstream.url("user:CANARY@"),
        **{f"{'remote' if mirroring_devpi.version()[0] == 7 else 'mirror'}_use_external_urls": True},
    )
    mirroring_devpi.make("team/dev", bases=["team/mirror"])
    found = find(mirroring_devpi, "tool")
    assert (found["version"], found["requires_python"], found["sha256"]) == ("2.0", ">=3.9", "ab" * 32)
    assert found["url"].startswith(f"{mirroring_devpi.url}/team/mirror/+")
    assert found["files"][0]["index"] == "team/mirror"
    pinned = find(mirroring_devpi, "tool==3.0")
    assert (pinned["version"], pinned["yanked"]) == ("3.0", "broken")
    message = refused(mirroring_devpi, "tool>2")
    assert (
        "everything that fits was yanked (3.0); to install one anyway, name it with ==; there are 3.0, 2.0, 1.0"
        in message
    )
    assert set(upstream.asked) == {"/simple/tool/"}
    # A project of its own hides the one upstream, for pip and for this.
    mirroring_devpi.upload("team/dev", "tool", "0.1", "tool-0.1.tar.gz")
    assert find(mirroring_devpi, "tool")["version"] == "0.1"


def test_the_examples_of_the_documentation(devpi: Devpi, tmp_path: Path) -> None:
    devpi.make("team/production")
    sha256 = devpi.upload("team/production", "latexhelper", "1.1", "latexhelper-1.1-py3-none-any.whl")
    devpi.upload("team/production", "latexhelper", "2.0", "latexhelper-2.0-py3-none-any.whl")
    fonts = [devpi.upload("team/production", "texfonts", "2.4", f"texfonts-2.4{end}") for end in (".tar.gz", ".zip")]
    tasks = release.EXAMPLES.replace("http://127.0.0.1:3141", devpi.url).replace("/tmp/", f"{tmp_path}/")  # noqa: S108
    playbook = tmp_path / "play.yml"
    indented = "\n".join(f"    {line}" for line in tasks.splitlines())
    playbook.write_text(f"- hosts: localhost\n  gather_facts: false\n  tasks:\n{indented}\n")
    process = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), "-i", "localhost,"),
            *("-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"),
        ],
        env=devpi.environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert "latexhelper==1.1" in process.stdout
    fetched = (tmp_path / "latexhelper-1.1-py3-none-any.whl").read_bytes()
    assert hashlib.sha256(fetched).hexdigest() == sha256
    assert "texfonts==2.4" + "".join(f" --hash=sha256:{each}" for each in fonts) in process.stdout
