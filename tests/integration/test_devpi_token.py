"""The module devpi_token against a real devpi-server that has the plugin devpi-tokens."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import Client, RequestFailed
from ansible_collections.wheelhouse.devpi.plugins.modules import devpi_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Devpi, Result

SECRET = re.compile(r"devpi-[A-Za-z0-9_-]{20,}")
# The module, killed at a step of its run
KILLED = """
import os, pathlib, signal, sys
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _token_file, _tokens
from ansible_collections.wheelhouse.devpi.plugins.modules import devpi_token

(owner, name), moment = sys.argv[1].split("."), sys.argv[2]
del sys.argv[1:]
owner = {"Path": pathlib.Path, "TokenFile": _token_file.TokenFile, "TokenApi": _tokens.TokenApi}[owner]
step = getattr(owner, name)

def killed(*arguments):
    if moment == "after":
        step(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, killed)
devpi_token.main()
"""
FORM = {":action": "file_upload", "metadata_version": "2.1", "version": "1.0", "filetype": "bdist_wheel"}


@pytest.fixture
def devpi(devpi: Devpi) -> Devpi:
    """Return a server with the plugin, the users ci and other, and the indexes ci/dev and ci/release."""
    plugins = devpi.ask("GET", "/+status")["versioninfo"]
    assert "devpi-tokens" in plugins, f"DEVPI_TEST_VENV names an environment without devpi-tokens: {plugins}"
    for user in ("ci", "other"):
        devpi.ask("PUT", f"/{user}", {"password": f"password-of-{user}"}, admin(devpi))
    for index in ("dev", "release"):
        devpi.ask("PUT", f"/ci/{index}", {}, admin(devpi))
    return devpi


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "token"


@functools.lru_cache
def admin(devpi: Devpi) -> str:
    return devpi.token()


def tokens(devpi: Devpi, user: str = "ci") -> dict[str, list[str]]:
    listed = devpi.ask("GET", f"/{user}/+tokens", None, admin(devpi))["tokens"]
    return {token_id: about["restrictions"] for token_id, about in listed.items()}


def make(devpi: Devpi, user: str = "ci", **restrictions: object) -> str:
    """Make a token as the plugin's own client does; return its secret."""
    return str(devpi.ask("POST", f"/{user}/+token-create", restrictions, admin(devpi))["token"])


def run(devpi: Devpi, check: bool = False, **options: object) -> Result:
    arguments = {"url": devpi.url, "password": devpi.root_password, "user": "ci", **options}
    result = devpi.run(
        "devpi_token",
        {key: str(value) if isinstance(value, Path) else value for key, value in arguments.items()},
        check,
    )
    assert devpi.root_password not in result.output
    if "path" in options:
        assert not SECRET.search(result.output)
    return result


def well(result: Result) -> Result:
    assert not result.values.get("failed"), result["msg"]
    return result


def check_real_again(devpi: Devpi, path: Path, **options: object) -> Result:
    """Run in check mode, for real, and again; return the real run's result."""
    before = (tokens(devpi), path.read_text() if path.exists() else None, names(path.parent))
    predicted = well(run(devpi, True, path=path, **options))
    after = (tokens(devpi), path.read_text() if path.exists() else None, names(path.parent))
    assert after == before, "check mode changed something"
    real = well(run(devpi, path=path, **options))
    for key in ("changed", "diff", "revoked"):
        assert predicted[key] == real[key], key
    new = real.values.get("id")
    assert [each for each in real["tokens"] if each["id"] != new] == [
        each for each in predicted["tokens"] if each["id"] != new
    ]
    at_rest = tokens(devpi)
    assert {each["id"] for each in real["tokens"]} == set(at_rest)
    again = well(run(devpi, path=path, **options))
    assert again["changed"] is False, again["diff"]
    assert again["diff"] == {"before": {}, "after": {}}
    assert (again["revoked"], again.values.get("id"), again["tokens"]) == ([], new, real["tokens"])
    assert tokens(devpi) == at_rest
    left = [path.name] if options.get("state", "present") == "present" else []
    assert names(path.parent) == left, "something is left beside the file"
    if path.exists():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert SECRET.fullmatch(path.read_text()[:-1])
    return real


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def secret_in(path: Path) -> str:
    return path.read_text().strip()


def works(devpi: Devpi, secret: str) -> bool:
    status = Client(devpi.url, "ci").with_token("ci", secret)
    try:
        return status.get_json("/+api")["authstatus"][:2] == ["ok", "ci"]
    except RequestFailed as error:
        assert error.status == 403
        return False


def wheel(directory: Path, name: str) -> Path:
    file = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        about = f"{name}-1.0.dist-info"
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return file


def upload(devpi: Devpi, secret: str, index: str, file: Path) -> int:
    """Upload as twine does, with the user's name and the token for HTTP's basic authentication; return the status."""
    boundary = "0123456789abcdef"
    fields = {**FORM, "name": file.name.partition("-")[0]}
    form = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    )
    form += f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{file.name}"\r\n\r\n'
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{devpi.url}/{index}/",
        form.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode(),
        {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Authorization": "Basic " + base64.b64encode(f"ci:{secret}".encode()).decode(),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def projects(devpi: Devpi, index: str) -> list[str]:
    return list(devpi.ask("GET", f"/{index}")["projects"])


def test_a_token_with_every_restriction(devpi: Devpi, path: Path) -> None:
    now = time.time()
    result = check_real_again(
        devpi,
        path,
        allowed=["upload", "pkg_read", "upload"],
        indexes=["ci/release", "ci/dev"],
        projects=["Foo_Bar", "baz", "foo.bar"],
        not_before="2020-01-31",
        expires="90d",
        renew_before="14d",
    )
    assert (result["changed"], result["revoked"]) == (True, [])
    [(token_id, restrictions)] = tokens(devpi).items()
    assert result["id"] == token_id
    expires = int(restrictions.pop(1).partition("=")[2])
    assert now + 90 * 86400 - 1 <= expires <= time.time() + 90 * 86400
    assert restrictions == [
        "allowed=pkg_read,upload",
        "indexes=ci/dev,ci/release",
        "not_before=1580428800",
        "projects=baz,foo-bar",
    ]
    declared = {
        "allowed": ["pkg_read", "upload"],
        "indexes": ["ci/dev", "ci/release"],
        "projects": ["baz", "foo-bar"],
        "not_before": "2020-01-31T00:00:00Z",
    }
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
    assert result["tokens"] == [{"id": token_id, **declared, "expires": shown}]
    assert result["diff"]["before"] == {}
    assert result["diff"]["after"]["(new)"] == {**declared, "expires": "in 90d"}
    assert result["diff"]["after"][str(path)]["token"] == "(new)"
    assert works(devpi, secret_in(path))


def test_an_unrestricted_token_of_the_defaults(devpi: Devpi, path: Path) -> None:
    result = check_real_again(devpi, path)
    [[expires, mark]] = tokens(devpi).values()
    assert abs(int(expires.partition("=")[2]) - time.time() - 365 * 86400) < 60
    assert re.fullmatch(r"not_before=-\d+", mark)
    assert set(result["tokens"][0]) == {"id", "expires"}
    assert works(devpi, secret_in(path))


@pytest.mark.parametrize("expires", ["never", "2035-01-31T12:00:00+02:00"])
def test_an_end_that_is_no_duration(devpi: Devpi, path: Path, expires: str) -> None:
    result = check_real_again(devpi, path, expires=expires)
    [[restriction, _mark]] = tokens(devpi).values()
    assert restriction == ("expires=never" if expires == "never" else "expires=2053850400")
    assert result["tokens"][0]["expires"] == ("never" if expires == "never" else "2035-01-31T10:00:00Z")
    assert check_real_again(devpi, path, expires="2035-01-31T12:00:00")["revoked"] == [result["id"]]


def test_tools_publish_and_install_with_it(devpi: Devpi, path: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    path = tmp_path / "kept" / "token"
    check_real_again(devpi, path, allowed=["upload", "pkg_read"], indexes=["ci/dev"], projects=["Foo.Bar"])
    secret = secret_in(path)
    file = wheel(tmp_path, "foo_bar")
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert uv, "uv is not installed"
    publish = [uv, "publish", "--publish-url", f"{devpi.url}/ci/dev/", "--username", "ci", "--no-config", str(file)]
    subprocess.run(publish, env={**os.environ, "UV_PUBLISH_PASSWORD": secret}, check=True, capture_output=True)
    assert projects(devpi, "ci/dev") == ["foo-bar"]
    simple = devpi.url.replace("://", f"://ci:{secret}@") + "/ci/dev/+simple/"
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "download", "--no-deps"]
    subprocess.run(
        [*pip, "--no-cache-dir", "--index-url", simple, "-d", tmp_path / "got", "foo-bar"],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "got" / file.name).read_bytes() == file.read_bytes()
    # As twine does, what is there already is taken again.
    assert upload(devpi, secret, "ci/dev", file) == 200
    assert upload(devpi, secret, "ci/dev", wheel(tmp_path, "other")) == 403
    assert upload(devpi, secret, "ci/release", file) == 403
    assert (projects(devpi, "ci/dev"), projects(devpi, "ci/release")) == (["foo-bar"], [])

    run(devpi, path=path, state="absent")
    assert upload(devpi, secret, "ci/dev", file) == 403


def test_the_modules_take_it_in_place_of_a_password(devpi: Devpi, tmp_path: Path) -> None:
    wheel = tmp_path / "promoted-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("promoted-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: promoted\nVersion: 1\n")
    token = make(devpi, indexes=["ci/dev"])
    arguments = {"url": devpi.url, "username": "ci", "password": token, "index": "ci/dev", "files": [str(wheel)]}
    asked = len(devpi.requests())
    result = devpi.run("devpi_package", arguments)
    assert well(result)["changed"]
    assert token not in result.output
    assert "POST /+login" not in devpi.requests()[asked:]
    assert "promoted" in devpi.ask("GET", "/ci/dev")["projects"]


def test_user_of_another_registrys_tokens_is_explained(devpi: Devpi, tmp_path: Path) -> None:
    token = make(devpi, indexes=["ci/dev"])
    arguments = {"url": devpi.url, "username": "__token__", "index": "ci/dev", "files": [str(wheel(tmp_path, "lost"))]}
    for password in (token, "no-token"):
        result = devpi.run("devpi_package", {**arguments, "password": password})
        assert result["failed"]
        assert "devpi has no user __token__; give as username the name of the user whom the token" in result["msg"]
        assert password not in result.output
    assert projects(devpi, "ci/dev") == []


def test_one_for_reading_is_refused_an_upload(devpi: Devpi, path: Path, tmp_path: Path) -> None:
    well(run(devpi, path=path, allowed=["pkg_read"]))
    file = wheel(tmp_path, "foo")
    assert works(devpi, secret_in(path))
    assert upload(devpi, secret_in(path), "ci/dev", file) == 403
    assert projects(devpi, "ci/dev") == []
    # The same file in the same way, with a token that may.
    assert upload(devpi, make(devpi, allowed=["upload"]), "ci/dev", file) == 200


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"allowed": ["upload"]}, "it is restricted otherwise"),
        ({"indexes": ["ci/dev"]}, "it is restricted otherwise"),
        ({"projects": ["foo"]}, "it is restricted otherwise"),
        ({"not_before": "2020-01-31"}, "it is restricted otherwise"),
        ({"expires": "60d"}, "it expires later than declared"),
        ({"expires": "never"}, "it expires at another time"),
        ({"expires": "2035-01-31"}, "it expires at another time"),
        ({"renew_before": "2159h"}, "it expires soon"),
    ],
)
def test_what_is_declared_otherwise_is_replaced(devpi: Devpi, path: Path, options: dict[str, Any], why: str) -> None:
    first = well(run(devpi, path=path, expires="90d"))
    old = secret_in(path)
    if why == "it expires soon":
        options = {"expires": "91d", "renew_before": "90d"}
    result = check_real_again(devpi, path, **{"expires": "90d", **options})
    assert (result["changed"], result["revoked"]) == (True, [first["id"]])
    assert result["diff"]["before"][str(path)]["token"] == f"{first['id']} ({why})"
    assert set(tokens(devpi)) == {result["id"]} != {first["id"]}
    assert works(devpi, secret_in(path))
    assert not works(devpi, old)


def test_a_longer_lifetime_waits_for_the_renewal(devpi: Devpi, path: Path) -> None:
    first = well(run(devpi, path=path, expires="90d"))
    assert check_real_again(devpi, path, expires="200d")["id"] == first["id"]


def test_a_token_that_no_longer_works_is_replaced(devpi: Devpi, path: Path) -> None:
    def by(flaw: str) -> Result:
        result = check_real_again(devpi, path, expires="10s", renew_before="1s")
        assert result["diff"]["before"][str(path)]["token"].endswith(f"({flaw})")
        assert set(tokens(devpi)) == {result["id"]}
        return result

    def by_hand(text: str) -> None:
        path.write_text(text)

    first = well(run(devpi, path=path, expires="10s", renew_before="1s"))
    devpi.ask("DELETE", f"/ci/+tokens/{first['id']}", None, admin(devpi))
    second = by("it is revoked")

    # As after a change of the server's secret: all is there but the signature.
    by_hand(secret_in(path)[:-6] + "AAAAAA\n")
    assert by("the server does not take it")["revoked"] == [second["id"]]

    while int(next(iter(tokens(devpi).values()))[0].partition("=")[2]) > time.time():
        time.sleep(0.2)
    by("it is expired")

    # One from which another was derived, with a restriction more.
    packed = base64.urlsafe_b64decode(secret_in(path)[6:] + "==")
    more = packed[:-35] + b"\x02\x0fallowed=upload,\x00" + packed[-35:]
    by_hand("devpi-" + base64.urlsafe_b64encode(more).decode().rstrip("="))
    by("it is restricted otherwise")


def test_a_file_that_is_cut_off_is_replaced(devpi: Devpi, path: Path) -> None:
    first = well(run(devpi, path=path))
    path.write_text(secret_in(path)[:-9])
    second = check_real_again(devpi, path)
    assert second["id"] != first["id"]
    # Whose it was cannot be told.
    assert (second["revoked"], set(tokens(devpi))) == ([], {first["id"], second["id"]})
    path.write_text("")
    assert check_real_again(devpi, path)["changed"] is True


def test_a_time_that_has_not_come(devpi: Devpi, path: Path) -> None:
    begins = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    result = check_real_again(devpi, path, not_before=begins)
    assert result["tokens"][0]["not_before"] == begins
    assert not works(devpi, secret_in(path))


def test_the_mode_is_mended(devpi: Devpi, path: Path) -> None:
    first = well(run(devpi, path=path))
    secret = secret_in(path)
    path.chmod(0o644)
    result = check_real_again(devpi, path)
    assert (result["changed"], result["id"], result["revoked"]) == (True, first["id"], [])
    assert result["diff"]["before"][str(path)]["mode"] == "0644"
    assert result["diff"]["after"][str(path)]["mode"] == "0600"
    assert secret_in(path) == secret


def test_the_file_of_another_account(devpi: Devpi) -> None:
    nobody = pwd.getpwnam("nobody")
    directory = Path(tempfile.mkdtemp())
    path = directory / "token"
    try:
        if os.geteuid() != 0:
            assert "may not write a file for nobody" in run(devpi, path=path, owner="nobody")["msg"]
            return
        directory.chmod(0o755)
        assert "nobody may not read and write in" in run(devpi, path=path, owner="nobody")["msg"]
        assert tokens(devpi) == {}
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        check_real_again(devpi, path, owner="nobody")
        seen = path.stat()
        assert (seen.st_uid, seen.st_gid) == (nobody.pw_uid, nobody.pw_gid)
        # With the rights of root it would lead to root's directory.
        path.unlink()
        path.symlink_to("/root/devpi-token-of-nobody")
        assert "nobody" in run(devpi, path=path, owner="nobody")["msg"]
        assert not Path("/root/devpi-token-of-nobody").exists()
    finally:
        shutil.rmtree(directory)


def test_absent_by_path(devpi: Devpi, path: Path) -> None:
    kept = make(devpi)
    result = well(run(devpi, path=path))
    gone = check_real_again(devpi, path, state="absent")
    assert (gone["changed"], gone["revoked"]) == (True, [result["id"]])
    assert result["id"] not in tokens(devpi)
    assert works(devpi, kept)
    assert not path.exists()
    assert well(run(devpi, path=path.parent / "nowhere" / "token", state="absent"))["changed"] is False

    # Revoked already, and a user who is gone.
    for vanish in ("revoke", "delete"):
        result = well(run(devpi, path=path))
        if vanish == "revoke":
            devpi.ask("DELETE", f"/ci/+tokens/{result['id']}", None, admin(devpi))
        else:
            devpi.ask("PATCH", "/ci/dev", {"volatile": True}, admin(devpi))
            devpi.ask("DELETE", "/ci", None, admin(devpi))
        gone = well(run(devpi, path=path, state="absent"))
        assert (gone["changed"], gone["revoked"], path.exists()) == (True, [], False)


def test_absent_by_id_and_by_force(devpi: Devpi) -> None:
    secrets = [make(devpi), make(devpi, allowed=["upload"]), make(devpi)]
    others = make(devpi, "other")
    first, second, third = tokens(devpi)
    for options, revoked in (({"id": second}, [second]), ({"force": True}, sorted([first, third]))):
        before = tokens(devpi)
        predicted = well(run(devpi, True, state="absent", **options))
        assert tokens(devpi) == before
        real = well(run(devpi, state="absent", **options))
        for key in ("changed", "diff", "revoked", "tokens"):
            assert predicted[key] == real[key], key
        assert (real["changed"], real["revoked"]) == (True, revoked)
        assert set(real["diff"]["before"]) == set(revoked)
        assert set(tokens(devpi)) == set(before) - set(revoked)
        assert well(run(devpi, state="absent", **options))["changed"] is False
    assert [works(devpi, secret) for secret in secrets] == [False] * 3
    assert len(tokens(devpi, "other")) == 1
    assert others


def test_without_a_path_the_secret_is_the_result(devpi: Devpi) -> None:
    for check in (True, False):
        refused = run(devpi, check)
        assert "set 'no_log: true' for the task" in refused["msg"]
    assert tokens(devpi) == {}
    hidden = {"_ansible_no_log": True, "expires": "8h", "allowed": ["pkg_read"]}
    predicted = well(run(devpi, True, **hidden))
    assert tokens(devpi) == {}
    real = well(run(devpi, **hidden))
    assert works(devpi, real["token"])
    for key in ("changed", "diff", "revoked"):
        assert predicted[key] == real[key], key
    assert not {"token", "id"} & set(predicted.values)
    assert list(tokens(devpi)) == [real["id"]]
    again = well(run(devpi, **hidden))
    assert again["changed"] is True
    assert set(tokens(devpi)) == {real["id"], again["id"]}
    assert not any("not_before=" in text for restrictions in tokens(devpi).values() for text in restrictions)


class Proxy(http.server.ThreadingHTTPServer):
    """Stands between a module and the server.

    What matches ``before`` does not reach the server, and of what matches ``after`` the answer does not come back
    unless the function says so.
    """

    def __init__(self, devpi: Devpi) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.devpi = devpi
        self.before: tuple[str, Callable[[Forward], object]] | None = None
        self.after: tuple[str, Callable[[Forward], object]] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Forward(http.server.BaseHTTPRequestHandler):
    server: Proxy

    def forward(self) -> None:
        asked = f"{self.command} {self.path}"
        if self.server.before and re.search(self.server.before[0], asked):
            self.server.before[1](self)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        kept = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
        request = urllib.request.Request(self.server.devpi.url + self.path, body, kept, method=self.command)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                status, headers, content = response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, headers, content = error.code, error.headers, error.read()
        if self.server.after and re.search(self.server.after[0], asked) and not self.server.after[1](self):
            return
        self.answer(status, headers["X-Devpi-Server-Version"], content)

    def answer(self, status: int, version: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("X-Devpi-Server-Version", version)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = forward  # noqa: N815 - the names that http.server calls

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def proxy(devpi: Devpi) -> Iterator[Proxy]:
    with Proxy(devpi) as each:
        threading.Thread(target=each.serve_forever, args=(0.01,), daemon=True).start()
        yield each
        each.shutdown()


def killed(proxy: Proxy, moment: str, asked: str, **options: object) -> None:
    """Run the module and kill it before, or after, the server carried out what it asked."""
    devpi = proxy.devpi
    arguments = {"url": proxy.url, "password": devpi.root_password, "user": "ci", **options}
    with subprocess.Popen(
        devpi.command("devpi_token"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=devpi.environment()
    ) as process:
        setattr(proxy, moment, (asked, lambda _request: process.send_signal(signal.SIGKILL)))
        printed, _errors = process.communicate(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
        assert (process.returncode, printed) == (-signal.SIGKILL, b""), "it was not killed"
    setattr(proxy, moment, None)


def killed_in(devpi: Devpi, function: str, moment: str, **options: object) -> None:
    """Run the module and kill it before, or after, a function of the run is called."""
    arguments = {"url": devpi.url, "password": devpi.root_password, "user": "ci", **options}
    process = subprocess.run(
        [sys.executable, "-c", KILLED, function, moment],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode(),
        env=devpi.environment(),
        capture_output=True,
        check=False,
    )
    assert (process.returncode, process.stdout) == (-signal.SIGKILL, b""), process.stderr.decode()


# Every step between two of which a run may end, and how many tokens there are then
STEPS = {
    "TokenFile.draft before": 0,
    "TokenFile.write before": 1,
    "Path.replace before": 1,
    "Path.replace after": 1,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_first_token_killed_between_two_steps(devpi: Devpi, path: Path, step: str) -> None:
    others = make(devpi, expires="never")
    [other] = tokens(devpi)
    killed_in(devpi, *step.split(), path=str(path), allowed=["upload"])
    begun = set(tokens(devpi)) - {other}
    assert len(begun) == STEPS[step]
    result = check_real_again(devpi, path, allowed=["upload"])
    if path.exists() and step == "Path.replace after":
        # all that is left to do is to remove the lock
        assert (result["id"], result["revoked"]) == (*begun, [])
    else:
        assert set(result["revoked"]) == begun
    assert set(tokens(devpi)) == {other, result["id"]}
    assert works(devpi, others)
    assert works(devpi, secret_in(path))


@pytest.mark.parametrize("step", [*STEPS, "TokenApi.revoke before", "TokenApi.revoke after"])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_replacement_killed_between_two_steps(devpi: Devpi, path: Path, step: str, state: str) -> None:
    make(devpi, expires="never")
    [other] = tokens(devpi)
    first = well(run(devpi, path=path))
    [mark] = marks(devpi) - {None}
    killed_in(devpi, *step.split(), path=str(path), expires="60d")
    assert marks(devpi) == {mark, None}, "the new token has the mark of the old one"
    assert works(devpi, secret_in(path)), "the file holds a token that works at any time"
    result = check_real_again(devpi, path, **({"state": "absent"} if state == "absent" else {"expires": "60d"}))
    assert first["id"] not in tokens(devpi)
    assert set(tokens(devpi)) == ({other} if state == "absent" else {other, result["id"]})


def marks(devpi: Devpi) -> set[str | None]:
    """Return the mark of each token, None for one without."""
    return {
        next((each for each in restrictions if each.startswith("not_before=-")), None)
        for restrictions in tokens(devpi).values()
    }


def test_a_run_killed_while_the_token_was_made(devpi: Devpi, proxy: Proxy, path: Path) -> None:
    mine = make(devpi, expires="never")
    known = set(tokens(devpi))
    options = {"expires": "never", "allowed": ["upload"]}
    for round_ in range(2):
        killed(proxy, "after", "POST .*token-create", path=str(path), **options)
        [orphan] = set(tokens(devpi)) - known
        [draft] = path.parent.glob(".*.draft")
        assert not SECRET.search(draft.read_text())
        assert stat.S_IMODE(draft.stat().st_mode) == 0o600
        result = check_real_again(devpi, path, **options)
        assert result["revoked"] == [orphan]
        assert set(tokens(devpi)) == known | {result["id"]}, round_
        path.unlink()
        known.add(result["id"])
    assert works(devpi, mine)


def test_a_renewal_killed_while_the_server_works(devpi: Devpi, proxy: Proxy, path: Path) -> None:
    first = well(run(devpi, path=path))
    killed(proxy, "before", "POST .*token-create", path=str(path), expires="60d")
    assert set(tokens(devpi)) == {first["id"]}
    killed(proxy, "after", "POST .*token-create", path=str(path), expires="60d")
    [orphan] = set(tokens(devpi)) - {first["id"]}
    assert works(devpi, secret_in(path)), "the old token went before there was a new one"
    killed(proxy, "before", f"DELETE .*/{first['id']}", path=str(path), expires="60d")
    [second] = set(tokens(devpi)) - {first["id"]}
    assert second != orphan
    assert works(devpi, secret_in(path))
    result = check_real_again(devpi, path, expires="60d")
    assert (result["id"], result["revoked"]) == (second, [first["id"]])
    assert set(tokens(devpi)) == {second}

    # Declared otherwise after all, or absent.
    killed(proxy, "after", "POST .*token-create", path=str(path), expires="50d")
    assert check_real_again(devpi, path, expires="60d")["id"] == second
    assert set(tokens(devpi)) == {second}
    killed(proxy, "after", "POST .*token-create", path=str(path), expires="50d")
    assert len(check_real_again(devpi, path, state="absent")["revoked"]) == 2
    assert tokens(devpi) == {}


def test_a_copy_of_the_file_costs_no_token_that_another_file_holds(devpi: Devpi, path: Path) -> None:
    (path.parent / "copied").mkdir()
    copy = path.parent / "copied" / "token"
    well(run(devpi, path=path))
    shutil.copy(path, copy)
    renewed = well(run(devpi, path=path, expires="60d"))
    own = check_real_again(devpi, copy)
    assert own["revoked"] == []
    assert set(tokens(devpi)) == {renewed["id"], own["id"]}
    assert well(run(devpi, path=path, expires="60d"))["changed"] is False


def test_a_token_that_was_made_by_hand_is_no_others_leftover(devpi: Devpi, path: Path) -> None:
    path.write_text(make(devpi, not_before=-5) + "\n")
    [held] = tokens(devpi)
    make(devpi, not_before=-5)
    [other] = set(tokens(devpi)) - {held}
    assert check_real_again(devpi, path, expires="60d")["revoked"] == [held]
    assert other in tokens(devpi)


@pytest.mark.parametrize("status", [500, 502])
def test_an_error_of_the_server_after_which_there_is_a_token(
    devpi: Devpi, proxy: Proxy, path: Path, status: int
) -> None:
    def spoil(request: Forward) -> bool:
        request.answer(status, "6.20.3", b'{"message": "spoiled"}')
        return False

    proxy.after = ("POST .*token-create", spoil)
    assert run(devpi, path=path, url=proxy.url)["failed"]
    [orphan] = tokens(devpi)
    proxy.after = None
    assert check_real_again(devpi, path)["revoked"] == [orphan]


def test_the_note_of_an_earlier_release_is_removed(devpi: Devpi, path: Path) -> None:
    make(devpi)
    (path.parent / ".token.unfinished").write_text(json.dumps({"user": "ci", "marks": list(tokens(devpi))}))
    assert check_real_again(devpi, path)["revoked"] == []
    (path.parent / ".token.unfinished").touch()
    assert check_real_again(devpi, path)["changed"] is True


def test_an_answer_that_is_lost(devpi: Devpi, proxy: Proxy, path: Path) -> None:
    proxy.after = ("POST .*token-create", lambda _request: False)
    for _attempt in range(3):
        lost = run(devpi, path=path, url=proxy.url)
        assert lost["failed"]
        assert "no answer" in lost["msg"]
        assert len(tokens(devpi)) == 1, "they accumulate"
    proxy.after = None
    result = check_real_again(devpi, path)
    assert set(tokens(devpi)) == {result["id"]}


def test_a_token_with_a_begin_that_a_killed_run_left_is_listed(devpi: Devpi, proxy: Proxy, path: Path) -> None:
    options = {"not_before": "2020-01-31", "expires": "2035-01-31"}
    killed(proxy, "after", "POST .*token-create", path=str(path), **options)
    [orphan] = tokens(devpi)
    result = check_real_again(devpi, path, **options)
    assert result["revoked"] == []
    assert [each["id"] for each in result["tokens"]] == sorted([orphan, result["id"]])


def test_a_token_that_cannot_be_written_is_revoked(devpi: Devpi, proxy: Proxy, path: Path) -> None:
    blocked = path.parent / "there"
    blocked.mkdir()
    well(run(devpi, path=blocked / "token"))
    held = tokens(devpi)

    def fill(_request: Forward) -> bool:
        (blocked / "token").unlink()
        (blocked / "token").mkdir()
        return True

    proxy.after = ("POST .*token-create", fill)
    failed = run(devpi, path=blocked / "token", url=proxy.url, expires="60d")
    assert failed["failed"]
    assert "Is a directory" in failed["msg"]
    assert tokens(devpi) == held
    assert names(blocked) == ["token"]


def test_two_runs_at_once_make_one_token(devpi: Devpi, path: Path) -> None:
    for expires in ("90d", "60d"):
        results: list[Result] = []
        threads = [
            threading.Thread(target=lambda: results.append(run(devpi, path=path, expires=expires)))  # noqa: B023
            for _thread in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [well(result)["id"] for result in results] == [results[0]["id"]] * 3
        assert [result["changed"] for result in results].count(True) == 1
        assert set(tokens(devpi)) == {results[0]["id"]}
        assert works(devpi, secret_in(path))
    assert names(path.parent) == ["token"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"user": "nobody-here"}, "has no user nobody-here; make the user first"),
        ({"user": "ci/dev"}, "user: user name 'ci/dev' is not allowed"),
        ({"expires": "90"}, "expires: '90' is not a duration; write it as 90d"),
        ({"expires": "2030-02-31"}, "expires: '2030-02-31' is not a time; write it as 2030-01-31"),
        ({"expires": "2020-01-31"}, "expires: 2020-01-31 ends before the token can be used"),
        ({"expires": "90d", "not_before": "2999-01-01"}, "expires: 90d ends before the token can be used"),
        ({"expires": "20d"}, "renew_before: 30d is not shorter than expires: 20d"),
        ({"renew_before": "soon"}, "renew_before: 'soon' is not a duration"),
        ({"not_before": "1d"}, "not_before: '1d' is not a time"),
        ({"allowed": []}, "allowed is empty, so the token could do nothing"),
        ({"indexes": []}, "indexes is empty"),
        ({"projects": []}, "projects is empty"),
        ({"allowed": ["uplaod"]}, "uplaod"),
        ({"indexes": ["dev"]}, "indexes: 'dev' is not an index; write it as user/index"),
        ({"indexes": ["ci/dev,ci/release"]}, "indexes: 'ci/dev,ci/release' is not an index"),
        ({"projects": ["a,b"]}, "projects: 'a,b' is not the name of a project"),
        ({"path": "token"}, "path: token is not absolute"),
        ({"path": "/nowhere/at/all"}, "path: there is no directory /nowhere/at; make it"),
        ({"owner": "no-such-account"}, "this host has no account no-such-account"),
        ({"id": "abc"}, "id: it has no meaning with state: present"),
        ({"force": True}, "force: it has no meaning with state: present"),
        ({"state": "absent", "id": "abc"}, "state: absent takes one of path, id and force, and path and id is given"),
        ({"state": "absent", "path": None}, "state: absent takes one of path, id and force, and none is given"),
        ({"state": "listed"}, "value of state must be one of: present, absent, got: listed"),
        ({"password": "CANARY"}, "the server does not accept the password given for root"),
        ({"username": "ci", "password": "password-of-ci"}, "ci may not do that; log in as a user whom"),
        ({"password": "CANARY", "indexes": {"a": "b"}}, "indexes"),
        ({"password": "CANARY", "expirs": "90d"}, "expirs"),
    ],
)
def test_what_cannot_be_done_is_refused_beforehand(
    devpi: Devpi, path: Path, options: dict[str, Any], message: str
) -> None:
    result = run(devpi, **{"path": path, **options})
    assert result["failed"]
    assert result.values.get("changed", False) is False
    assert message in result["msg"]
    assert "CANARY" not in result.output
    assert tokens(devpi) == {}
    assert names(path.parent) == []


def test_check_mode_refuses_what_the_real_run_refuses(devpi: Devpi, path: Path) -> None:
    for options in ({"user": "nobody-here"}, {"password": "CANARY"}, {"username": "ci", "password": "password-of-ci"}):
        refused = [run(devpi, check, **{"path": path, **options})["msg"] for check in (True, False)]
        assert refused[0] == refused[1]


def test_all_that_is_wrong_is_told_at_once(devpi: Devpi, path: Path) -> None:
    result = run(devpi, path=path, force=True, expires="x", indexes=["dev"])
    assert result["msg"].splitlines() == [
        "Nothing was changed.",
        "- force: it has no meaning with state: present; leave it out",
        "- expires: 'x' is not a duration; write it as 90d, with the unit s, m, h, d or w",
        "- indexes: 'dev' is not an index; write it as user/index",
    ]


def test_files_that_are_no_tokens_of_the_user_stay(devpi: Devpi, path: Path) -> None:
    others = make(devpi, "other")
    draft = path.parent / ".token.left.draft"
    for file, text, message in (
        (path, "[distutils]\n", "holds no devpi token; move the file away"),
        (path, others, "is about a token of other, not of ci; revoke it with user: other and state: absent"),
        (draft, "other not_before=-6000000000000000000", "(a draft of it) is about a token of other, not of ci"),
        (draft, others, "(a draft of it) is about a token of other, not of ci"),
    ):
        file.write_text(text)
        for state in ("present", "absent"):
            result = run(devpi, path=path, state=state)
            assert message in result["msg"]
        assert file.read_text() == text
        file.unlink()
    assert tokens(devpi) == {}
    assert len(tokens(devpi, "other")) == 1


def test_a_refusal_of_the_server_leaves_nothing(devpi: Devpi, proxy: Proxy, path: Path) -> None:
    message = "Not allowed to set expiration to more than one year"

    def refuse(request: Forward) -> None:
        request.rfile.read(int(request.headers["Content-Length"]))
        request.answer(403, "6.20.3", json.dumps({"message": message}).encode())

    proxy.before = ("POST .*token-create", refuse)
    refused = run(devpi, path=path, url=proxy.url, expires="500d")
    assert refused["failed"]
    assert message in refused["msg"]
    assert names(path.parent) == []


def test_the_examples_of_the_documentation(devpi: Devpi, tmp_path: Path) -> None:
    credentials, agent = tmp_path / "credentials", tmp_path / "agent"
    credentials.mkdir(mode=0o700)
    agent.mkdir()
    (credentials / "root").write_text(devpi.root_password + "\n")
    text = (
        devpi_token.EXAMPLES.replace("http://127.0.0.1:3141", devpi.url)
        .replace("/etc/devpi/credentials", str(credentials))
        .replace("/etc/ci", str(agent))
    )
    make(devpi, expires="never")
    tasks = yaml.safe_load(text)
    assert len(tasks) == 5
    output = play(devpi, tmp_path, tasks, 0)
    assert "changed=4" in output
    assert len(tokens(devpi)) == 1, "that of the pipeline is left"
    assert names(agent) == []


def play(devpi: Devpi, directory: Path, tasks: list[dict[str, Any]], status: int, *mode: str) -> str:
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    process = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("ansible-playbook")), str(playbook), "-i", "localhost,", *mode),
            *("-c", "local", "-vvv", "--diff", "-e", f"ansible_python_interpreter={sys.executable}"),
        ],
        env=devpi.environment(),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    output = process.stdout + process.stderr
    assert process.returncode == status, output
    assert devpi.root_password not in output
    return output


def test_no_secret_is_in_what_ansible_prints(devpi: Devpi, tmp_path: Path) -> None:
    path = tmp_path / "kept" / "token"
    path.parent.mkdir()
    named = {"url": devpi.url, "password": devpi.root_password, "user": "ci"}
    to_file = {"wheelhouse.devpi.devpi_token": {**named, "path": str(path)}}
    renewed = {"wheelhouse.devpi.devpi_token": {**named, "path": str(path), "expires": "60d"}}
    wrong = {"wheelhouse.devpi.devpi_token": {**named, "path": str(path), "expires": "x"}}
    returned = {"wheelhouse.devpi.devpi_token": named, "no_log": True, "register": "made"}
    used = {
        "ansible.builtin.copy": {"content": "{{ made.token }}", "dest": str(tmp_path / "copy"), "mode": "0600"},
        "diff": False,
    }
    seen = []
    for tasks, mode, status in (
        ([to_file], ["--check"], 0),
        ([to_file], [], 0),
        ([to_file, renewed], [], 0),
        ([wrong], [], 2),
        ([returned, used], [], 0),
        ([{"wheelhouse.devpi.devpi_token": named}], [], 2),
    ):
        output = play(devpi, tmp_path, tasks, status, *mode)
        assert not SECRET.search(output)
        for file in (path, tmp_path / "copy"):
            if file.exists():
                seen.append(secret_in(file))
                assert not [secret for secret in seen if secret in output]
    assert len(set(seen)) == 3
    assert works(devpi, secret_in(path))
    assert works(devpi, secret_in(tmp_path / "copy"))
    assert len(tokens(devpi)) == 2
