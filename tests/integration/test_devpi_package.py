"""The module devpi_package against a real devpi-server."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import subprocess
import sys
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.wheelhouse.devpi.plugins.modules import devpi_package

if TYPE_CHECKING:
    from conftest import Devpi, Result

METADATA = """\
Metadata-Version: 2.1
Name: {project}
Version: {version}
Summary: Füße
Author: The team
License: MIT
Classifier: Programming Language :: Python :: 3
Classifier: Topic :: Software Development
Requires-Dist: attrs
Requires-Python: >=3.6
Description-Content-Type: text/markdown

# {project}
{content}
"""
PASSWORD = "CANARY-team"
NO_CHANGE = {"before": {}, "after": {}}


def wheel(directory: Path, project: str = "demo", version: str = "1.0", content: str = "", tag: str = "py3") -> str:
    """Make a wheel that pip installs, whose one module holds the content."""
    path = directory / f"{project.replace('-', '_')}-{version}-{tag}-none-any.whl"
    info = f"{project.replace('-', '_')}-{version}.dist-info"
    files = {
        f"{project.replace('-', '_')}.py": f"CONTENT = {content!r}\n",
        f"{info}/METADATA": METADATA.format(project=project, version=version, content=content),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # without the time, so that the same is made again
    return str(path)


def sdist(directory: Path, project: str = "demo", version: str = "1.0", content: str = "") -> str:
    path = directory / f"{project.replace('-', '_')}-{version}.tar.gz"
    text = METADATA.format(project=project, version=version, content=content).encode()
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(f"{project}-{version}/PKG-INFO")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    return str(path)


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def contents(*paths: str) -> dict[str, str]:
    return {Path(path).name: sha256(path) for path in paths}


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - loopback
        return bytes(response.read())


def on(devpi: Devpi, index: str) -> dict[str, str]:
    """Return the files of an index with the SHA-256 of what is served under their address."""
    found = {}
    for project in devpi.ask("GET", f"/{index}")["projects"]:
        for release in devpi.ask("GET", f"/{index}/{project}?ignore_bases=").values():
            for link in release.get("+links", ()):
                found[link["href"].rsplit("/", 1)[1]] = hashlib.sha256(fetch(link["href"])).hexdigest()
    return found


def versions(devpi: Devpi, index: str) -> dict[str, list[str]]:
    projects = devpi.ask("GET", f"/{index}")["projects"]
    return {project: sorted(devpi.ask("GET", f"/{index}/{project}?ignore_bases=")) for project in projects}


def by_hand(devpi: Devpi, index: str, path: str, project: str = "demo", version: str = "1.0", **fields: str) -> None:
    """Upload a file without the module."""
    boundary = secrets.token_hex(8)
    form = {":action": "file_upload", "name": project, "version": version, **fields}
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in form.items()
    )
    head = f'Content-Disposition: form-data; name="content"; filename="{Path(path).name}"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    body += f"--{boundary}\r\n{head}".encode() + Path(path).read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Authorization": "Basic " + base64.b64encode(f"team:{PASSWORD}".encode()).decode(),
    }
    request = urllib.request.Request(f"{devpi.url}/{index}/", body, headers, method="POST")  # noqa: S310 - loopback
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310


@pytest.fixture
def team(devpi: Devpi) -> Devpi:
    """Give the user team a volatile index, one that builds on it, and one that is not volatile."""
    token = devpi.token()
    devpi.ask("PUT", "/team", {"password": PASSWORD}, token)
    devpi.ask("PUT", "/team/dev", {}, token)
    devpi.ask("PUT", "/team/staging", {"bases": ["team/dev"]}, token)
    devpi.ask("PUT", "/team/production", {"volatile": False}, token)
    return devpi


def run(devpi: Devpi, check: bool = False, **options: object) -> Result:
    arguments = {"url": devpi.url, "username": "team", "password": PASSWORD, "index": "team/dev", **options}
    result = devpi.run("devpi_package", arguments, check)
    assert "CANARY" not in result.output
    return result


def everything(devpi: Devpi) -> dict[str, dict[str, str]]:
    return {index: on(devpi, index) for index in ("team/dev", "team/staging", "team/production")}


def check_real_again(devpi: Devpi, **options: object) -> Result:
    """Run in check mode, for real, and again; return the real run's result."""
    before = everything(devpi)
    predicted = run(devpi, check=True, **options)
    assert everything(devpi) == before, "check mode changed something"
    asked = len(devpi.requests())
    real = run(devpi, **options)
    assert not real.values.get("failed"), real["msg"]
    assert devpi.requests()[asked:].count("POST /+login") == (1 if real["changed"] else 0)
    for key in ("changed", "diff", "changes", "files", "version"):
        assert predicted[key] == real[key], key
    after = everything(devpi)
    for index in set(before) | set(real["diff"]["before"]):
        changed = {
            name for name in {**before[index], **after[index]} if before[index].get(name) != after[index].get(name)
        }
        for moment, there in (("before", before[index]), ("after", after[index])):
            shown = real["diff"][moment].get(index, {})
            assert shown == {name: digest for name, digest in there.items() if name in changed}, (moment, index)
    for file in real["files"]:
        assert hashlib.sha256(fetch(file["url"])).hexdigest() == file["sha256"]
    asked = len(devpi.requests())
    again = run(devpi, **options)
    assert again["changed"] is False, again["diff"]
    assert (again["changes"], again["diff"], again["files"]) == ([], NO_CHANGE, real["files"])
    assert not [request for request in devpi.requests()[asked:] if not request.startswith("GET ")]
    assert everything(devpi) == after
    return real


def refused(devpi: Devpi, *texts: str, **options: object) -> str:
    """Run in check mode and for real; both have to be refused with these texts and change nothing."""
    before = everything(devpi)
    messages = set()
    for check in (True, False):
        result = run(devpi, check, **options)
        assert result.values.get("failed"), result.values
        assert not result.values.get("changed")
        messages.add(result["msg"])
        for text in texts:
            assert text in result["msg"]
    assert len(messages) == 1
    assert everything(devpi) == before
    return messages.pop()


def test_two_files_are_uploaded_and_pip_installs_them(team: Devpi, tmp_path: Path) -> None:
    files = [wheel(tmp_path, "demo-pkg", content="one"), sdist(tmp_path, "demo-pkg")]
    asked = len(team.requests())
    assert run(team, files=files)["changed"] is True
    # The path of a request is logged without its query.
    assert team.requests()[asked:] == ["GET /team/dev", "GET /team/dev", "POST /+login", *["POST /team/dev/"] * 2]
    assert on(team, "team/dev") == contents(*files)
    asked = len(team.requests())
    assert run(team, files=files)["changed"] is False
    assert team.requests()[asked:] == ["GET /team/dev", "GET /team/dev", "GET /team/dev/demo-pkg"]

    there = team.ask("GET", "/team/dev/demo-pkg?ignore_bases=")["1.0"]
    assert there["name"] == "demo-pkg"
    assert there["summary"] == "Füße"
    assert there["classifiers"] == ["Programming Language :: Python :: 3", "Topic :: Software Development"]
    assert there["requires_python"] == ">=3.6"
    assert there["requires_dist"] == ["attrs"]
    assert there["description_content_type"] == "text/markdown"
    page = fetch(f"{team.url}/team/dev/+simple/demo-pkg/").decode()
    assert page.count('data-requires-python="&gt;=3.6"') == 2

    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-cache-dir", "--index-url", f"{team.url}/team/dev/+simple/", "demo-pkg==1.0"]
    subprocess.run([*pip, "download", "--dest", str(tmp_path / "got"), *options], check=True, capture_output=True)
    [got] = (tmp_path / "got").iterdir()
    assert contents(str(got)) == contents(files[0])
    subprocess.run([*pip, "install", "--target", str(tmp_path / "lib"), *options], check=True, capture_output=True)
    assert (tmp_path / "lib" / "demo_pkg.py").read_text() == "CONTENT = 'one'\n"


def test_what_is_reported_of_an_upload(team: Devpi, tmp_path: Path) -> None:
    files = [wheel(tmp_path), sdist(tmp_path), wheel(tmp_path, "other", "2.0+local.1")]
    result = check_real_again(team, files=files)
    assert result["changes"] == [
        {"index": "team/dev", "project": project, "version": version, "action": "upload", "files": [Path(file).name]}
        for file, project, version in zip(files, ("demo", "demo", "other"), ("1.0", "1.0", "2.0+local.1"))
    ]
    assert result["diff"] == {"before": {"team/dev": {}}, "after": {"team/dev": contents(*files)}}
    assert [(file["name"], file["sha256"]) for file in result["files"]] == [*contents(*files).items()]
    assert versions(team, "team/dev") == {"demo": ["1.0"], "other": ["2.0+local.1"]}


def test_what_a_base_has_counts_for_nothing(team: Devpi, tmp_path: Path) -> None:
    file, own = wheel(tmp_path), wheel(tmp_path, version="1.1.dev1")
    run(team, files=[file, wheel(tmp_path, version="1.2.dev1")])
    for files in ([own], [file]):
        assert check_real_again(team, files=files, index="team/staging")["changed"] is True
    assert run(team, index="team/staging", project="demo", version="1.2.dev1", state="absent")["changed"] is False
    assert run(team, index="team/staging", project="demo", keep=1)["changed"] is False
    assert on(team, "team/staging") == contents(file, own)


def test_a_project_that_the_index_lacks_is_not_asked_for(team: Devpi, tmp_path: Path) -> None:
    # Asked for it, devpi-server would ask the mirrors among the bases, and so tell their upstreams a private name.
    run(team, files=[wheel(tmp_path)])
    asked = len(team.requests())
    where: dict[str, Any] = {"index": "team/staging"}
    assert run(team, **where, project="demo", version="1.0", state="absent")["changed"] is False
    assert run(team, **where, project="demo", keep=0)["changed"] is False
    assert run(team, **where, keep=0)["changed"] is False
    assert run(team, **where, check=True, files=[wheel(tmp_path)])["changed"] is True
    refused(team, "has no project demo", **where, project="demo", version="1.0", push_to="team/production")
    assert "GET /team/staging" in team.requests()[asked:]
    assert "GET /team/staging/demo" not in team.requests()[asked:]


def test_another_content_replaces_only_on_a_volatile_index(team: Devpi, tmp_path: Path) -> None:
    old, kept = wheel(tmp_path, content="old"), sdist(tmp_path)
    before = contents(old)
    for index in ("team/dev", "team/production"):
        run(team, files=[old, kept], index=index)
    new = wheel(tmp_path, content="new")
    assert contents(new) != before
    message = refused(
        team,
        f"Nothing was changed. {new}: team/production is not volatile and has another {Path(new).name}",
        files=[kept, new, sdist(tmp_path, version="1.1")],
        index="team/production",
    )
    assert sha256(new) in message
    result = check_real_again(team, files=[kept, new])
    assert [(each["action"], each["files"]) for each in result["changes"]] == [("replace", [Path(new).name])]
    assert result["diff"] == {"before": {"team/dev": before}, "after": {"team/dev": contents(new)}}
    assert on(team, "team/dev") == contents(new, kept)


def test_what_a_killed_run_left_is_completed(team: Devpi, tmp_path: Path) -> None:
    files = [wheel(tmp_path), sdist(tmp_path)]
    for index in ("team/dev", "team/production"):
        by_hand(team, index, files[0])
        result = check_real_again(team, files=files, index=index)
        assert [each["files"] for each in result["changes"]] == [[Path(files[1]).name]]
        assert on(team, index) == contents(*files)
        assert team.ask("GET", f"/{index}/demo?ignore_bases=")["1.0"]["requires_python"] == ">=3.6"


def test_a_release_goes_from_index_to_index(team: Devpi, tmp_path: Path) -> None:
    files = [wheel(tmp_path, "Demo_X"), sdist(tmp_path, "Demo_X")]
    run(team, files=[*files, wheel(tmp_path, "Demo_X", "1.1")])
    for source, target in (("team/dev", "team/staging"), ("team/staging", "team/production")):
        result = check_real_again(team, index=source, project="demo.x", version="1.0.0", push_to=target)
        assert result["changes"] == [
            {
                "index": target,
                "project": "demo-x",
                "version": "1.0",
                "action": "push",
                "files": sorted(contents(*files)),
            }
        ]
        assert result["diff"] == {"before": {target: {}}, "after": {target: contents(*files)}}
        assert [(file["name"], file["sha256"]) for file in result["files"]] == sorted(contents(*files).items())
        assert on(team, target) == contents(*files)
    there = team.ask("GET", "/team/production/demo-x?ignore_bases=")["1.0"]
    assert (there["name"], there["requires_python"]) == ("Demo_X", ">=3.6")


def test_documentation_goes_with_its_release(team: Devpi, tmp_path: Path) -> None:
    run(team, files=[wheel(tmp_path)])
    docs = tmp_path / "demo-1.0.doc.zip"
    with zipfile.ZipFile(docs, "w") as archive:
        archive.writestr("index.html", "hello")
    by_hand(team, "team/dev", str(docs), **{":action": "doc_upload"})
    result = check_real_again(team, project="demo", version="1.0", push_to="team/production")
    assert on(team, "team/production") == contents(wheel(tmp_path), str(docs))
    assert result["diff"]["after"] == {"team/production": contents(wheel(tmp_path), str(docs))}
    result = check_real_again(team, project="demo", version="1.0", state="absent")
    assert result["diff"]["before"] == {"team/dev": contents(wheel(tmp_path), str(docs))}


def test_a_push_that_would_end_half_way_is_refused(team: Devpi, tmp_path: Path) -> None:
    first, second = wheel(tmp_path), sdist(tmp_path)
    push: dict[str, Any] = {"project": "demo", "version": "1.0"}
    run(team, files=[first])
    for target in ("team/staging", "team/production"):
        run(team, **push, push_to=target)
    run(team, files=[second])
    refused(
        team,
        "team/production is not volatile and has a part of demo 1.0, which devpi cannot complete by a push; "
        f"upload {Path(second).name} to it with files",
        **push,
        push_to="team/production",
    )
    check_real_again(team, **push, push_to="team/staging")
    assert on(team, "team/staging") == contents(first, second)
    run(team, files=[second], index="team/production")
    assert run(team, **push, push_to="team/production")["changed"] is False


def test_a_push_over_another_content_is_refused(team: Devpi, tmp_path: Path) -> None:
    push: dict[str, Any] = {"project": "demo", "version": "1.0"}
    run(team, files=[wheel(tmp_path, content="old"), sdist(tmp_path, content="old")])
    for target in ("team/staging", "team/production"):
        run(team, **push, push_to=target)
    run(team, files=[wheel(tmp_path, content="new"), sdist(tmp_path, content="new")])
    names = "another demo-1.0-py3-none-any.whl and another demo-1.0.tar.gz than team/dev; raise the version"
    message = refused(team, f"team/production has {names}", **push, push_to="team/production")
    assert "delete" not in message
    refused(team, f"team/staging has {names}, or delete 1.0 there first", **push, push_to="team/staging")
    run(team, **push, index="team/staging", state="absent")
    check_real_again(team, **push, push_to="team/staging")
    assert on(team, "team/staging") == on(team, "team/dev")


def test_pushing_what_is_not_there(team: Devpi, tmp_path: Path) -> None:
    run(team, files=[wheel(tmp_path), wheel(tmp_path, version="1.1")])
    for options, text in (
        ({"project": "demoo", "version": "1.0"}, "team/dev has no project demoo; did you mean demo?"),
        ({"project": "else", "version": "1.0"}, "team/dev has no project else; upload it first"),
        ({"project": "demo", "version": "1.2"}, "team/dev has no demo 1.2; of its 2 versions the nearest is 1."),
    ):
        assert text in refused(team, text, **options, push_to="team/staging")
    refused(team, "push_to team/dev is the index itself", project="demo", version="1.0", push_to="team/dev")


def test_a_release_is_deleted(team: Devpi, tmp_path: Path) -> None:
    files = [wheel(tmp_path, version="1.0.dev1"), sdist(tmp_path, version="1.0.dev1"), wheel(tmp_path)]
    run(team, files=files)
    result = check_real_again(team, project="Demo", version="1.0-DEV1", state="absent")
    assert result["changes"] == [
        {
            "index": "team/dev",
            "project": "demo",
            "version": "1.0.dev1",
            "action": "delete",
            "files": sorted(contents(*files[:2])),
        }
    ]
    assert result["diff"] == {"before": {"team/dev": contents(*files[:2])}, "after": {"team/dev": {}}}
    assert result["files"] == []
    assert on(team, "team/dev") == contents(files[2])
    assert run(team, project="nothing", version="1.0", state="absent")["changed"] is False


def test_a_project_is_deleted_where_force_says_so(team: Devpi, tmp_path: Path) -> None:
    run(team, files=[wheel(tmp_path), wheel(tmp_path, version="1.1"), wheel(tmp_path, "other")])
    refused(
        team,
        "team/dev: the whole project demo with all its 2 releases would be deleted, because no version is named",
        project="demo",
        state="absent",
    )
    result = check_real_again(team, project="demo", state="absent", force=True)
    assert [each.get("version") for each in result["changes"]] == [None]
    assert versions(team, "team/dev") == {"other": ["1.0"]}
    # What is not there needs no force.
    assert run(team, project="demo", state="absent")["changed"] is False


def test_an_index_that_is_not_volatile_loses_releases_by_force_alone(team: Devpi, tmp_path: Path) -> None:
    files = [wheel(tmp_path, version=version) for version in ("1.0", "1.1", "1.2.dev1", "1.2.dev2")]
    run(team, files=[*files, wheel(tmp_path, "other")], index="team/production")
    where: dict[str, Any] = {"index": "team/production"}
    text = "team/production is not volatile, so its releases are meant to stay; set force: true to delete"
    refused(team, f"{text} demo 1.0 all", **where, project="demo", version="1.0", state="absent")
    refused(team, f"{text} demo (all of it) all", **where, project="demo", state="absent")
    refused(team, f"{text} demo 1.2.dev1 all", **where, keep=1)
    check_real_again(team, **where, project="demo", version="1.0", state="absent", force=True)
    check_real_again(team, **where, keep=1, force=True)
    assert versions(team, "team/production") == {"demo": ["1.1", "1.2.dev2"], "other": ["1.0"]}
    check_real_again(team, **where, project="demo", state="absent", force=True)
    assert versions(team, "team/production") == {"other": ["1.0"]}
    assert team.index("team/production")["volatile"] is False


def test_a_release_without_files_is_deleted_too(team: Devpi, tmp_path: Path) -> None:
    run(team, files=[wheel(tmp_path)])
    by_hand(team, "team/dev", wheel(tmp_path, version="2.0"), version="2.0", **{":action": "submit"})
    assert versions(team, "team/dev") == {"demo": ["1.0", "2.0"]}
    refused(team, "team/dev has no file of demo 2.0", project="demo", version="2.0", push_to="team/staging")
    result = run(team, project="demo", version="2.0", state="absent")
    assert result["diff"] == {"before": {"team/dev": {"demo 2.0": "(no files)"}}, "after": {"team/dev": {}}}
    assert versions(team, "team/dev") == {"demo": ["1.0"]}


def test_old_development_releases_are_cleared_away(team: Devpi, tmp_path: Path) -> None:
    demo = [
        "0.9",
        "1.0.dev2",
        "1.0.dev10",
        "1.0.dev9",
        "1.0a1",
        "1.0a1.dev1",
        "1.0rc1",
        "1.0",
        "1.0.post1.dev1",
        "1.1.dev1",
    ]
    other = ["2.0.dev1", "2.0.dev2", "2.0.dev3"]
    run(
        team,
        files=[
            *(wheel(tmp_path, version=version) for version in demo),
            *(wheel(tmp_path, "other", version) for version in other),
        ],
    )
    by_hand(team, "team/dev", sdist(tmp_path, version="snapshot-dev1"), version="snapshot-dev1")
    result = check_real_again(team, project="demo", keep=3)
    gone = ["1.0.dev2", "1.0.dev9", "1.0.dev10"]
    assert [(each["action"], each["version"]) for each in result["changes"]] == [("delete", each) for each in gone]
    kept = sorted({*demo, "snapshot-dev1"} - set(gone))
    assert versions(team, "team/dev") == {"demo": kept, "other": other}
    check_real_again(team, keep=1)
    kept = sorted(set(kept) - {"1.0a1.dev1", "1.0.post1.dev1"})
    assert versions(team, "team/dev") == {"demo": kept, "other": ["2.0.dev3"]}
    check_real_again(team, keep=0)
    assert versions(team, "team/dev") == {"demo": sorted(set(kept) - {"1.1.dev1"})}


def test_everything_wrong_is_told_at_once(team: Devpi, tmp_path: Path) -> None:
    renamed = Path(wheel(tmp_path, "real"))
    renamed = renamed.rename(tmp_path / "fake-1.0-py3-none-any.whl")
    (tmp_path / "demo-2.0.tar.gz").write_bytes(b"no archive")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "again").mkdir()
    files = [sdist(tmp_path), sdist(tmp_path / "again"), str(renamed)]
    files += [str(tmp_path / name) for name in ("demo-2.0.tar.gz", "notes.txt", "absent-1.0.tar.gz")]
    message = refused(
        team,
        f"- {files[1]}: {files[0]} has the same name",
        f"- {renamed}: the metadata inside is of real 1.0",
        f"- {tmp_path}/demo-2.0.tar.gz is damaged",
        f"- {tmp_path}/notes.txt: the name is neither that of a wheel",
        f"- {tmp_path}/absent-1.0.tar.gz: No such file or directory",
        "- index team/def: " + team.url + " has no such index; did you mean team/dev?",
        files=files,
        index="team/def",
    )
    assert message.count("\n- ") == 6


@pytest.mark.parametrize("index", ["dev", "team/", "team/dev/", "/team/dev", "team/d?v", "a/b/c"])
def test_what_is_no_index(team: Devpi, tmp_path: Path, index: str) -> None:
    refused(team, f"index {index!r} is not an index; write it as user/index", files=[wheel(tmp_path)], index=index)


def test_an_index_far_from_any_other(team: Devpi, tmp_path: Path) -> None:
    refused(team, "has no such index; make it first, or correct the name", files=[wheel(tmp_path)], index="xyz/123")


def test_a_mirror_is_refused(team: Devpi, tmp_path: Path) -> None:
    for options in ({"files": [wheel(tmp_path)]}, {"keep": 1}, {"project": "demo", "state": "absent"}):
        refused(team, "index root/pypi is a mirror", index="root/pypi", **options)
    refused(team, "push_to root/pypi is a mirror", project="demo", version="1", push_to="root/pypi")


def test_who_may_not_upload_is_refused_beforehand(team: Devpi, tmp_path: Path) -> None:
    file = wheel(tmp_path)
    root: dict[str, Any] = {"username": "root", "password": team.root_password}
    refused(team, "root may not upload to team/dev, whose acl_upload names team; log in", files=[file], **root)
    run(team, files=[file])
    # Who changes nothing needs no right.
    assert run(team, files=[file], **root)["changed"] is False
    push = {"project": "demo", "version": "1.0", "push_to": "team/staging"}
    refused(team, "root may not upload to team/staging", **push, **root)
    team.ask("PATCH", "/team/staging", {"acl_upload": []}, team.token())
    refused(team, "team may not upload to team/staging, whose acl_upload names nobody", **push)
    team.ask("PATCH", "/team/staging", {"acl_upload": [":AUTHENTICATED:"]}, team.token())
    check_real_again(team, **push, **root)
    # Root is named by restrict-modify, so it may delete.
    check_real_again(team, index="team/staging", project="demo", version="1.0", state="absent", **root)


def test_a_group_is_for_the_server_to_know(team: Devpi, tmp_path: Path) -> None:
    team.ask("PATCH", "/team/dev", {"acl_upload": [":developers"]}, team.token())
    assert run(team, True, files=[wheel(tmp_path)])["changed"] is True
    result = run(team, files=[wheel(tmp_path)])
    assert result["failed"]
    assert (
        f"POST {team.url}/team/dev/: devpi-server {result['msg'].split('devpi-server ')[1].split()[0]} answered 403"
        in result["msg"]
    )
    assert "no permission to submit" in result["msg"]
    assert (result["changed"], result["changes"]) == (False, [])
    assert on(team, "team/dev") == {}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "state is present but any of the following are missing: files, push_to, keep"),
        ({"project": "demo", "version": "1"}, "state is present but any of the following are missing"),
        ({"state": "absent"}, "state is absent but all of the following are missing: project"),
        ({"push_to": "team/staging", "project": "demo"}, "missing parameter(s) required by 'push_to': version"),
        ({"version": "1.0", "push_to": "team/staging"}, "project"),
        ({"files": ["/x"], "keep": 1}, "parameters are mutually exclusive: files|push_to|keep"),
        ({"files": ["/x"], "project": "demo"}, "parameters are mutually exclusive: files|project"),
        ({"keep": 1, "version": "1", "project": "demo"}, "parameters are mutually exclusive: keep|version"),
        ({"state": "absent", "project": "demo", "keep": 1}, "goes with neither push_to nor keep"),
        (
            {"state": "absent", "project": "demo", "version": "1", "push_to": "team/staging"},
            "goes with neither push_to nor keep",
        ),
        ({"files": []}, "files is empty; name at least one file"),
        ({"keep": -1}, "keep -1 is negative"),
        ({"keep": 1, "project": "a/b"}, "project 'a/b' is not the name of a project"),
        ({"state": "absent", "project": ""}, "project '' is not the name of a project"),
    ],
)
def test_options_that_do_not_go_together(devpi: Devpi, options: dict[str, Any], text: str) -> None:
    asked = len(devpi.requests())
    result = run(devpi, **options)
    assert result["failed"]
    assert text in result["msg"]
    assert len(devpi.requests()) == asked


@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_password_is_refused_before_anything_is_changed(team: Devpi, tmp_path: Path, check: bool) -> None:
    file = wheel(tmp_path)
    result = run(team, check, files=[file], password="CANARY-wrong")
    assert result["failed"]
    assert f"POST {team.url}/+login: the server does not accept the password given for team" in result["msg"]
    assert on(team, "team/dev") == {}
    result = run(team, check, files=[file], password=None)
    assert f"the password of team on {team.url} is needed and was not given" in result["msg"]


@pytest.mark.parametrize("check", [True, False])
def test_a_server_that_is_not_there(devpi: Devpi, tmp_path: Path, check: bool) -> None:
    result = run(devpi, check, files=[wheel(tmp_path)], url="http://127.0.0.1:9")
    assert result["failed"]
    assert "GET http://127.0.0.1:9/team/dev?no_projects=: nothing listens there" in result["msg"]


@contextmanager
def listener(seen: Any) -> Iterator[str]:
    """Yield the address of an HTTP server that calls ``seen`` for each request, which may answer it; else 404."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            if not seen(self):
                self.send_error(404)

        do_GET = do_POST = do_HEAD = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_where_the_server_breaks_half_way_what_was_done_is_told(team: Devpi, tmp_path: Path) -> None:
    files = [wheel(tmp_path), sdist(tmp_path)]
    uploads: list[str] = []

    def relay(handler: BaseHTTPRequestHandler) -> bool:
        if handler.path == "/team/dev/":
            uploads.append(handler.path)
            if len(uploads) == 2:
                handler.send_error(502)
                return True
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)) or None
        headers = {key: value for key, value in handler.headers.items() if key != "Host"}
        request = urllib.request.Request(team.url + handler.path, body, headers, method=handler.command)  # noqa: S310
        try:
            answer = urllib.request.urlopen(request, timeout=30)  # noqa: S310 - loopback
        except urllib.error.HTTPError as error:
            answer = error
        content = answer.read()
        handler.send_response(answer.status)
        handler.send_header("X-Devpi-Server-Version", answer.headers["X-Devpi-Server-Version"])
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
        return True

    with listener(relay) as url:
        result = run(team, files=files, url=url)
    assert result["failed"]
    assert f"POST {url}/team/dev/: " in result["msg"]
    assert "answered 502 in place of devpi-server" in result["msg"]
    assert result["changed"] is True
    assert [each["files"] for each in result["changes"]] == [[Path(files[0]).name]]
    assert on(team, "team/dev") == contents(files[0])
    check_real_again(team, files=files)


@pytest.mark.once
def test_the_examples_of_the_documentation(team: Devpi, tmp_path: Path) -> None:
    directory = tmp_path / "credentials"
    directory.mkdir(mode=0o700)
    (directory / "team").write_text(PASSWORD + "\n")
    files = [wheel(tmp_path), sdist(tmp_path)]
    run(team, files=[wheel(tmp_path, version=f"1.1.dev{number}") for number in range(7)])
    tasks = yaml.safe_load(devpi_package.EXAMPLES)
    for task in tasks:
        arguments = json.loads(
            json.dumps(task["wheelhouse.devpi.devpi_package"]).replace("/srv/build/dist", str(tmp_path))
        )
        arguments.update(url=team.url, password=None, credentials_dir=str(directory))
        assert check_real_again(team, **arguments)["changed"] is True, task["name"]
    assert len(tasks) == 4
    assert versions(team, "team/dev") == {"demo": ["1.0", *(f"1.1.dev{number}" for number in range(2, 7))]}
    assert contents(*files).items() <= on(team, "team/dev").items()
    assert on(team, "team/production") == {}


@pytest.mark.once
def test_no_password_is_in_what_ansible_prints(team: Devpi, tmp_path: Path) -> None:
    arguments = {"url": team.url, "username": "team", "password": PASSWORD, "index": "team/dev"}
    upload = {**arguments, "files": [wheel(tmp_path)]}
    wrong = {**upload, "password": "CANARY-wrong", "index": "team/staging"}
    for task, mode, status in ((upload, ["--check"], 0), (upload, [], 0), (wrong, [], 2)):
        playbook = tmp_path / "play.yml"
        tasks = [{"wheelhouse.devpi.devpi_package": task}]
        playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
        process = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), "-i", "localhost,", *mode),
                *("-c", "local", "-vvv", "--diff", "-e", f"ansible_python_interpreter={sys.executable}"),
            ],
            env=team.environment(),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        output = process.stdout + process.stderr
        assert process.returncode == status, output
        assert "CANARY" not in output
    assert on(team, "team/dev") == contents(wheel(tmp_path))
