"""The merge of ~/.pypirc, judged by configparser, which is what twine and flit read the file with."""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import grp
import json
import os
import pwd
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.wheelhouse.devpi.plugins.module_utils import _pypirc
from ansible_collections.wheelhouse.devpi.plugins.module_utils._pypirc import (
    MADE_BEFORE,
    MADE_HERE,
    MASK,
    Pypirc,
    PypircError,
    Repository,
    masked_diff,
)
from ansible_collections.wheelhouse.devpi.plugins.modules import pypirc
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

URL = "http://localhost:3141/bob/dev"
TEST_PYPI = "https://test.pypi.org/legacy/"
CANARY = "s3cr3t"
Run = Callable[..., Dict[str, Any]]
DEV = Repository(name="dev", repository=URL, username="bob")
NO_DEV = Repository(name="dev", state="absent")


def merged(text: str, *repositories: Repository) -> str:
    return Pypirc.parse(text, "/home/bob/.pypirc").merge(repositories)


def read(text: str) -> dict[str, dict[str, str]]:
    """What twine finds in a file with this text."""
    parser = configparser.RawConfigParser()
    with tempfile.TemporaryFile("w+b") as file:
        file.write(text.encode())
        file.seek(0)
        with open(file.fileno(), encoding="utf-8", closefd=False) as lines:
            parser.read_file(lines)
    return {name: dict(parser[name]) for name in (*parser.sections(), "DEFAULT")}


def listed(text: str) -> list[str]:
    """The names that twine takes."""
    return read(text).get("distutils", {}).get("index-servers", "pypi testpypi").split()


def addresses(text: str) -> dict[str, str]:
    """Where flit publishes to, by name. To one that has no address, PyPI's is given."""
    values, pypi = read(text), "the public index"
    names = values.get("distutils", {}).get("index-servers", "pypi").split()
    return {name: values.get(name, {}).get("repository", pypi) for name in names}


# --- single texts -----------------------------------------------------------------------------------------------

SECTION = f"\n[dev]\nrepository = {URL}\nusername = bob\n"
TEST_SECTION = f"\n[testpypi]\nrepository = {TEST_PYPI}\n"
BEGUN = "[distutils]\nindex-servers =\n    pypi\n    testpypi\n    dev\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", f"{MADE_HERE}\n\n{BEGUN}{TEST_SECTION}{SECTION}", id="no file"),
        pytest.param(
            "# mine\n[distutils]\nindex-servers =\n   pypi\n   # work\n   team  \n\n   # end\n\n[pypi]\n"
            "username: __token__\n",
            "# mine\n[distutils]\nindex-servers =\n   pypi\n   # work\n   team  \n   dev\n\n   # end\n\n[pypi]\n"
            f"username: __token__\n{SECTION}",
            id="multi-line with comments",
        ),
        pytest.param(
            "[distutils]\nIndex-Servers: pypi team\n",
            f"[distutils]\nIndex-Servers: pypi team dev\n{SECTION}",
            id="single line, colon, other case",
        ),
        pytest.param(
            "[distutils]\nindex-servers = pypi\n\tteam",
            f"[distutils]\nindex-servers = pypi\n\tteam\n\tdev\n{SECTION}",
            id="both layouts, tab, no newline at the end",
        ),
        pytest.param(
            "[distutils]\nindex-servers=\n", f"[distutils]\nindex-servers=\n    dev\n{SECTION}", id="empty list"
        ),
        pytest.param(
            "[pypi]\npassword = 100%\n",
            f"[pypi]\npassword = 100%\n\n{BEGUN}{TEST_SECTION}{SECTION}",
            id="pypi and testpypi stay known where they were known without a list",
        ),
        pytest.param(
            "[testpypi]\nusername = __token__\n[other]\nx = y\n",
            f"[testpypi]\nusername = __token__\nrepository = {TEST_PYPI}\n[other]\nx = y\n\n{BEGUN}{SECTION}",
            id="a listed testpypi gets the address that twine has for it",
        ),
        pytest.param(
            "[testpypi]\nrepository: https://test.example.com/\n",
            f"[testpypi]\nrepository: https://test.example.com/\n\n{BEGUN}{SECTION}",
            id="a testpypi of the person's own",
        ),
        pytest.param(
            f"{MADE_BEFORE}\n\n[distutils]\nindex-servers =\n    dev\n\n[dev]\nrepository = {URL}/\nusername = bob\n",
            f"{MADE_HERE}\n\n[distutils]\nindex-servers =\n    dev\n    pypi\n    testpypi\n{SECTION}{TEST_SECTION}",
            id="a list that an earlier version began",
        ),
        pytest.param(
            f"[distutils]\r\nindex-servers = dev\r\n[dev]\r\nRepository:{URL}old\r\nusername  =  bob  \r\n",
            f"[distutils]\r\nindex-servers = dev\r\n[dev]\r\nRepository:{URL}\r\nusername  =  bob  \r\n",
            id="one value, other lines to the letter",
        ),
        pytest.param(
            f"[distutils]\nindex-servers = dev\n[dev]\n  repository:{URL}\n  # who\n\n[team]\nusername = x",
            f"[distutils]\nindex-servers = dev\n[dev]\n  repository:{URL}\n  username:bob\n  # who\n\n[team]\n"
            "username = x",
            id="a new line is written like its neighbour",
        ),
        pytest.param(
            f"[distutils]\nindex-servers = dev\n[dev]\nusername =\n  alice\n  # was\n  carol\nrepository = {URL}\n",
            f"[distutils]\nindex-servers = dev\n[dev]\nusername = bob\n  # was\nrepository = {URL}\n",
            id="a value over several lines",
        ),
        pytest.param(
            f"[distutils]\nindex-servers = dev\n[dev]\npassword = p%(x)s;#\nrepository = {URL}\nusername = bob\n",
            f"[distutils]\nindex-servers = dev\n[dev]\npassword = p%(x)s;#\nrepository = {URL}\nusername = bob\n",
            id="nothing to do",
        ),
        pytest.param(
            "[DEFAULT]\nindex-servers = team\n[distutils]\n",
            f"[DEFAULT]\nindex-servers = team\n[distutils]\nindex-servers =\n    team\n    dev\n{SECTION}",
            id="a list from DEFAULT",
        ),
    ],
)
def test_adds_and_changes(before: str, after: str) -> None:
    assert merged(before, DEV) == after
    assert merged(after, DEV) == after


def test_names_are_left_out_of_a_new_list_by_saying_so() -> None:
    absent = [Repository(name=name, state="absent") for name in ("pypi", "testpypi")]
    assert merged("", *absent) == ""
    after = merged("", DEV, *absent)
    assert listed(after) == ["dev"]
    assert "testpypi" not in read(after)
    assert merged(after, DEV) == after


def test_declared_testpypi_is_as_declared() -> None:
    after = merged("", DEV, Repository(name="testpypi", repository="https://test.example.com/", username="bob"))
    assert listed(after) == ["pypi", "dev", "testpypi"]
    assert read(after)["testpypi"] == {"repository": "https://test.example.com/", "username": "bob"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", "", id="no file"),
        pytest.param(
            f"[distutils]\nindex-servers =\n  pypi\n  # work\n  dev\n{SECTION}  # gone with it\npassword = x\n"
            "# next\n\n[pypi]\n",
            "[distutils]\nindex-servers =\n  pypi\n  # work\n\n# next\n\n[pypi]\n",
            id="in the middle",
        ),
        pytest.param(
            f"[distutils]\nindex-servers = dev pypi dev\n[pypi]\n{SECTION}\n\n",
            "[distutils]\nindex-servers = pypi\n[pypi]\n",
            id="at the end",
        ),
        pytest.param("[distutils]\nindex-servers: dev\n", "[distutils]\nindex-servers:\n", id="listed only"),
        pytest.param(
            "[Dev]\nusername = bob\n[distutils]\nindex-servers = Dev devel\n",
            "[Dev]\nusername = bob\n[distutils]\nindex-servers = Dev devel\n",
            id="names are told apart by case",
        ),
        pytest.param(
            "[pypi]\nusername = bob\n[dev]\n  [team]\n  username = x\n",
            "[pypi]\nusername = bob\n[team]\n  username = x\n",
            id="an indented header does not become a value",
        ),
    ],
)
def test_removes(before: str, after: str) -> None:
    assert merged(before, NO_DEV) == after
    assert merged(after, NO_DEV) == after


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"password = {CANARY}\n[dev]\n", 1),
        (f"\ufeff[dev]\npassword = {CANARY}\n", 1),
        (f"[dev]\npassword = {CANARY}\n\n[dev]\nusername = bob\n", 4),
        (f"[dev]\r\npassword = x\r\n# note\r\nPassword: {CANARY}\r\n", 4),
        (f"[dev]\nusername = bob\n{CANARY}\n", 3),
        (f"[dev]\n= {CANARY}\n", 2),
    ],
)
def test_refuses_what_configparser_refuses(text: str, line: int) -> None:
    with pytest.raises(PypircError, match=f"/home/bob/.pypirc, line {line}: .* then run again") as caught:
        Pypirc.parse(text, "/home/bob/.pypirc")
    assert caught.value.line == line
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None  # a traceback would show configparser's message, with the line


@pytest.mark.parametrize(
    "fields",
    [
        *({"name": name} for name in ("", "a b", "a]", "[a", "a\n[b", "#a", ";a", "a\x00", "\u200b")),
        *({"name": name} for name in ("distutils", "DEFAULT", "server-login")),
        *(
            {"repository": url}
            for url in (None, "", "localhost:3141", "ftp://a/", "http://", "http://a:b/", "http://a b/")
        ),
        *(
            {"repository": url}
            for url in (f"https://bob:{CANARY}@host/", f"bob:{CANARY}@host/", f"https://{CANARY}@host/")
        ),
        *({"password": CANARY + end} for end in ("\n", "\nx", "\rx", " ", "\u2028x", "\x85x", "\ud800")),
        {"username": "bob\n[pypi]"},
        {"username": ""},
    ],
)
def test_refuses_what_the_file_cannot_hold(fields: dict[str, str]) -> None:
    with pytest.raises(PypircError, match=r"^repositories: .*(Choose|[Gg]ive)") as caught:
        Repository(**{"name": "dev", "repository": URL, **fields})
    assert CANARY not in str(caught.value)


def test_refuses_a_name_given_twice() -> None:
    with pytest.raises(PypircError, match="dev appears more than once"):
        merged("", DEV, NO_DEV)


def test_hands_out_no_text_that_reads_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pypirc._Edit, "remove_section", lambda _edit, _name: None)
    with pytest.raises(PypircError, match="would not read back as declared"):
        merged("[dev]\nusername = bob\n", NO_DEV)


def test_masks_every_secret() -> None:
    before = (
        f"# password = {CANARY}\n;token:{CANARY}\n[dev]\nrepository = https://bob:{CANARY}/@{CANARY}@host/simple/\n"
        f"username = bob\n   password = {CANARY}\n[a]\nPassword:{CANARY} {CANARY}\n[b]\npassword =\n  {CANARY}\n\n"
        f"  # {CANARY}\n  {CANARY}=\n[c]\nAPI_key={CANARY}\r\nrepository: https://{CANARY}@host/?token={CANARY}\n"
    )
    after = before.replace(f"Password:{CANARY} {CANARY}", f"Password:{CANARY}")
    shown = masked_diff(before, after)
    assert CANARY not in "".join(shown)
    for text in shown:
        assert "repository = https://bob:********@host/simple/\n" in text
        assert "[b]\npassword =\n  ********\n\n  #********\n  ********\n[c]\nAPI_key=********\r\n" in text
    assert f"[a]\nPassword:{MASK}\n" in shown[0]
    assert f"[a]\nPassword:{MASK} (changed)\n" in shown[1]
    assert "".join(shown).count("(changed)") == 1


# --- any text ---------------------------------------------------------------------------------------------------

NAMES = ["dev", "Dev", "pypi", "testpypi", "team", "a=b", "x:y"]
INDENTS = st.sampled_from(["", "", "", "  ", "\t", "      "])
VALUES = st.sampled_from(
    ["", "bob", "100%", "%(x)s", "# no comment", "a = b", "[dev]", URL, "pypi dev", "é", "  two  "]
)
NOISE = st.sampled_from(["", "   ", "# note", "  ; password = old", "#[dev]", "\t# dev"])
OPTIONS = ["repository", "Repository", "username", "USERNAME", "password", "index-servers", "Index-Servers", "ca_cert"]


@st.composite
def sections(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from([*NAMES, "distutils", "distutils", "DEFAULT", " dev ", "other]"]))
    lines = [f"{draw(INDENTS)}[{name}]{draw(st.sampled_from(['', '  ', ' ; note']))}"]
    options = ["index-servers"] if name == "distutils" else OPTIONS
    indent = draw(INDENTS)
    for option in draw(st.lists(st.sampled_from(options), max_size=4, unique_by=str.lower)):
        lines += draw(st.lists(NOISE, max_size=2))
        delimiter = draw(st.sampled_from([" = ", "=", ":", ": ", " :", "\t=\t", "="]))
        value = draw(st.lists(st.sampled_from(NAMES)).map(" ".join) if option == "index-servers" else VALUES)
        lines.append(indent + option + delimiter + value)
        for more in draw(st.lists(st.sampled_from([*NAMES, "dev # dev", "k = v"]), max_size=3)):
            lines += draw(st.lists(NOISE, max_size=1))
            lines.append(indent + draw(st.sampled_from([" ", "    ", "\t"])) + more)
    return lines + draw(st.lists(NOISE, max_size=3))


@st.composite
def texts(draw: st.DrawFn) -> str:
    lines = [line for part in draw(st.lists(sections(), max_size=5)) for line in part]
    lines[:0] = draw(st.lists(NOISE, max_size=2))
    endings = draw(st.sampled_from([["\n"], ["\n"], ["\r\n"], ["\n", "\r\n", "\r"]]))
    text = "".join(line + draw(st.sampled_from(endings)) for line in lines)
    text = text if draw(st.booleans()) else text.rstrip("\r\n")
    with contextlib.suppress(configparser.Error):
        read(text)
        return text
    assume(False)
    return text


@st.composite
def declarations(draw: st.DrawFn) -> list[Repository]:
    printable = st.text(st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=8)
    value = st.one_of(
        st.none(),
        st.sampled_from(["bob", "100%", "%(x)s", "=x", "#x", "[x]"]),
        printable.filter(str.strip).map(str.strip),
    )
    return [
        Repository(
            name=name,
            repository=draw(st.sampled_from([URL, "https://devpi.example.com/a/b"])),
            username=draw(value),
            password=draw(value),
            state=draw(st.sampled_from(["present", "present", "absent"])),
        )
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))
    ]


def is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(line in rest for line in part)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(texts(), declarations())
def test_declared_holds_and_all_else_is_equal(before: str, repositories: list[Repository]) -> None:
    after = merged(before, *repositories)
    assert merged(after, *repositories) == after

    old, new = read(before), read(after)
    without_interpolation = configparser.ConfigParser(interpolation=None)
    without_interpolation.read_string(after.replace("\r\n", "\n").replace("\r", "\n"))
    assert {name: dict(without_interpolation[name]) for name in new} == new

    for repository in repositories:
        if repository.state == "absent":
            assert repository.name not in new
            assert repository.name not in new.get("distutils", {}).get("index-servers", "").split()
            continue
        assert repository.name in listed(after)
        declared = {
            "repository": repository.repository,
            "username": repository.username,
            "password": repository.password,
        }
        kept = old.get(repository.name, old["DEFAULT"])
        assert new[repository.name] == {**kept, **{key: value for key, value in declared.items() if value is not None}}

    named = {repository.name for repository in repositories}
    absent = {repository.name for repository in repositories if repository.state == "absent"}
    for section in (old.keys() | new.keys()) - named:
        expected = dict(old.get(section, old["DEFAULT"]))
        if section == "testpypi" and "index-servers" not in old.get("distutils", {}) and named - absent:
            address = expected.get("repository", TEST_PYPI) if section in old else TEST_PYPI
            expected = {**expected, "repository": address}
        if section == "distutils":
            expected.pop("index-servers", None)
            new[section].pop("index-servers", None)
        assert new[section] == expected
    had_list = "index-servers" in old.get("distutils", {})
    if had_list or named - absent:
        stays = [name for name in listed(before) if name not in absent]
        assert set(listed(after)) == set(stays) | (named - absent)
        assert listed(after)[: len(stays)] == stays or not had_list
    if not had_list and "testpypi" in addresses(after):
        assert addresses(after)["testpypi"] != addresses("")["pypi"]

    if not absent:
        comments = [line.strip() for line in before.splitlines() if line.strip()[:1] in ("#", ";")]
        assert is_subsequence(comments, [line.strip() for line in after.splitlines()])

    shown = masked_diff(before, after)
    for values, text in zip((old, read(after)), shown):
        assert len(text.splitlines()) == len((before if text is shown[0] else after).splitlines())
        masked = read(text)
        for section, options in values.items():
            for option, value in options.items():
                if option == "password":
                    assert set(masked[section][option].split()) <= {MASK, "(changed)"}, value


# --- the module on a real file ----------------------------------------------------------------------------------


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(path: Path, *repositories: dict[str, str], check: bool = False, **options: str) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "path": str(path),
            "repositories": repositories,
            "_ansible_check_mode": check,
            **options,
        }
        with patch_module_args({**arguments, "_ansible_diff": True}), pytest.raises(SystemExit):
            pypirc.main()
        result = dict(json.loads(capsys.readouterr().out))
        # ansible-core 2.22 tells itself what it must hide, and takes that out before anybody sees the result.
        result.pop("_ansible_new_secrets", None)
        return result

    return run


BOB = {"name": "dev", "repository": URL, "username": "bob", "password": CANARY}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize("text", [None, "", "[distutils]\nindex-servers = pypi\n[pypi]\npassword: old\n"])
def test_check_mode_tells_what_the_run_does(run: Run, tmp_path: Path, text: str | None) -> None:
    path = tmp_path / ".pypirc"
    if text is not None:
        path.write_text(text)
        path.chmod(0o644)
    before = [(each.name, each.read_bytes(), mode(each)) for each in tmp_path.iterdir()]
    foreseen = run(path, BOB, check=True)
    assert [(each.name, each.read_bytes(), mode(each)) for each in tmp_path.iterdir()] == before

    done = run(path, BOB)
    assert (done["changed"], done["diff"]) == (foreseen["changed"], foreseen["diff"]) == (True, done["diff"])
    assert read(path.read_text())["dev"] == {"repository": URL, "username": "bob", "password": CANARY}
    assert mode(path) == 0o600
    assert CANARY not in json.dumps([foreseen, done])
    assert "old" not in json.dumps(done["diff"])

    backups = [each for each in tmp_path.iterdir() if each != path]
    assert [str(each) for each in backups] == ([done["backup_file"]] if text else [])
    assert [(each.read_text(), mode(each)) for each in backups] == ([(text, 0o600)] if text else [])

    again = run(path, BOB)
    assert not again["changed"]
    assert "backup_file" not in again


def test_a_file_made_here_keeps_added_lines_and_needs_no_backup(run: Run, tmp_path: Path) -> None:
    path = tmp_path / ".pypirc"
    run(path, BOB)
    path.write_text(path.read_text() + "ca_cert = /etc/ca.pem\n# mine\n")
    assert run(path, {**BOB, "username": "alice"})["changed"]
    assert read(path.read_text())["dev"]["ca_cert"] == "/etc/ca.pem"
    assert "# mine\n" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_mode_alone_is_mended(run: Run, tmp_path: Path) -> None:
    path = tmp_path / ".pypirc"
    path.write_text("[pypi]\n")
    path.chmod(0o640)
    mended = run(path)
    assert mended["changed"]
    assert mended["diff"][1]["before"] == {"mode": "0640"}
    assert (path.read_text(), mode(path), list(tmp_path.iterdir())) == ("[pypi]\n", 0o600, [path])
    assert not run(path)["changed"]


def test_a_link_is_followed_and_stays(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    path, target = tmp_path / ".pypirc", tmp_path / "dotfiles" / "pypirc"
    path.symlink_to("dotfiles/pypirc")
    assert run(path, BOB)["changed"]
    assert path.is_symlink()
    assert "dev" in read(target.read_text())


def test_what_a_killed_run_left_is_cleared(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".pypirc.x1y2.unfinished").write_text(CANARY)
    run(tmp_path / ".pypirc", BOB)
    assert [each.name for each in tmp_path.iterdir()] == [".pypirc"]


def test_draft_of_a_run_that_lives_stays(run: Run, tmp_path: Path) -> None:
    live = tmp_path / ".pypirc.x1y2.unfinished"
    with live.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run(tmp_path / ".pypirc", BOB)
    assert sorted(each.name for each in tmp_path.iterdir()) == [".pypirc", live.name]


def test_what_has_no_end_is_refused_at_once(run: Run, tmp_path: Path) -> None:
    path = tmp_path / ".pypirc"
    signal.alarm(10)
    try:
        os.mkfifo(path)
        assert f"{path} is not a file. Move it away" in run(path, BOB)["msg"]
        path.unlink()
        path.symlink_to("/dev/zero")
        assert f"{path} is not a file. Move it away" in run(path, BOB)["msg"]
        path.unlink()
        with path.open("wb") as file:
            file.truncate(10 << 30)
        assert f"{path} is larger than 1048576 bytes. Move it away" in run(path, BOB)["msg"]
        assert path.stat().st_size == 10 << 30
    finally:
        signal.alarm(0)


@pytest.mark.parametrize("path", ["/etc", "/dev/pypirc", "/srv/../etc/pypirc", "pypirc", "/srv\n/pypirc"])
def test_refuses_what_is_no_place_for_the_file(run: Run, path: str) -> None:
    failed = run(Path(path), BOB)
    assert failed["msg"].startswith(f"path: {path if path.isprintable() else repr(path)} ")
    assert failed["msg"].endswith("Nothing was changed.")


def test_refuses_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / ".pypirc"
    path.write_bytes(b"[dev]\nusername = b\xf6b\n")
    assert f"{path}, line 2: this is not UTF-8" in run(path, BOB)["msg"]
    path.write_text(f"[dev]\n{CANARY}-bare\n")
    failed = run(path, {"name": "dev", "state": "absent"})
    assert f"{path}, line 2: " in failed["msg"]
    assert CANARY not in json.dumps(failed)
    assert path.read_text() == f"[dev]\n{CANARY}-bare\n"
    assert "is not a file" in run(tmp_path, BOB)["msg"]
    path.unlink()
    path.symlink_to(".pypirc")
    assert "is not a file" in run(path, BOB)["msg"]
    assert "no directory" in run(tmp_path / "missing" / ".pypirc", BOB)["msg"]
    assert "owner: this host has no account nobody-here" in run(path, BOB, owner="nobody-here", check=True)["msg"]
    assert [each.name for each in tmp_path.iterdir()] == [".pypirc"]


def test_credentials_in_a_url_are_not_shown(run: Run, tmp_path: Path) -> None:
    for credentials in (f"bob:{CANARY}", CANARY):
        failed = run(tmp_path / ".pypirc", {"name": "dev", "repository": f"https://{credentials}@host/"})
        assert "credentials in its URL" in failed["msg"]
        assert CANARY not in json.dumps(failed)


@pytest.fixture
def home() -> Iterator[tuple[Path, pwd.struct_passwd]]:
    """A directory of another account's, below one that everyone may pass."""
    if os.geteuid() != 0:
        pytest.skip("only root can write another's file")
    account = pwd.getpwnam("nobody")
    directory = Path(tempfile.mkdtemp())
    os.chown(directory, account.pw_uid, 0)
    directory.chmod(0o2755)  # new files get the directory's group, unless the module sees to it
    yield directory, account
    shutil.rmtree(directory)


def test_root_writes_as_the_owner(run: Run, home: tuple[Path, pwd.struct_passwd]) -> None:
    directory, account = home
    path = directory / ".pypirc"
    path.write_text("[pypi]\n")
    done = run(path, BOB, owner="nobody")
    assert done["diff"][1]["before"] == {"mode": "0644", "owner": "root", "group": grp.getgrgid(0).gr_name}
    for each in directory.iterdir():
        assert (each.stat().st_uid, each.stat().st_gid, mode(each)) == (account.pw_uid, account.pw_gid, 0o600)
    assert {each.name for each in directory.iterdir()} == {".pypirc", Path(done["backup_file"]).name}
    assert not run(path, BOB, owner="nobody")["changed"]
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_root_is_not_led_to_others_files(run: Run, home: tuple[Path, pwd.struct_passwd], tmp_path: Path) -> None:
    directory, account = home
    path, other = directory / ".pypirc", directory / "roots"
    other.write_text("[pypi]\nusername = root\n")
    other.chmod(0o600)
    before = other.stat()
    for link in (path.symlink_to, lambda target: os.link(target, path)):
        link(other)
        refused = run(path, BOB, owner="nobody")
        assert "belongs to root, not to nobody" in refused["msg"]
        assert "chown" not in refused["msg"]
        assert ("remove the link" in refused["msg"]) is path.is_symlink()
        assert (other.stat().st_uid, other.stat().st_mode, other.stat().st_mtime) == (
            0,
            before.st_mode,
            before.st_mtime,
        )
        path.unlink()
    path.symlink_to("/etc/new")
    assert "may not write in /etc" in run(path, BOB, owner="nobody")["msg"]
    assert "remove the link" in run(path, BOB, owner="nobody")["msg"]
    path.unlink()
    path.symlink_to(tmp_path / "new")
    assert "msg" in run(path, BOB, owner="nobody")
    assert not (tmp_path / "new").exists()
    path.unlink()
    path.symlink_to("/root/.ssh/new")
    assert "remove the link" in run(path, BOB, owner="nobody")["msg"]
    path.unlink()
    path.touch()
    os.chown(path, account.pw_uid, -1)
    path.chmod(0)
    assert f"Open it: runuser -u nobody -- chmod 600 {path}. " in run(path, BOB, owner="nobody")["msg"]
    path.unlink()
    refused = run(path, BOB, owner="daemon")
    assert "where other accounts than daemon can replace it. Name another owner" in refused["msg"]
    assert [each.name for each in directory.iterdir()] == ["roots"]
