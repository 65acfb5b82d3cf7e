"""What the Ansible community package requires of a collection, point by point, where a file shows it.

The points are those of "Ansible community package collections requirements", in its order. What ansible-test sanity,
ansible-lint, antsibull-changelog, antsibull-docs and reuse check is not repeated here.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import ansible.plugins.loader
import pytest
import yaml
from ansible.playbook.task import Task
from ansible.plugins.loader import PluginLoader
from packaging.specifiers import SpecifierSet
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
FQCN = re.compile(r"\w+\.\w+\.\w+")
COC = "https://docs.ansible.com/ansible/latest/community/code_of_conduct.html"
PRIVATELY = "https://github.com/wheelhouse/devpi/security/advisories/new"
# The rule names them: these must not be ignored.
NEVER_IGNORED = {
    "doc-choices-do-not-match-spec",
    "doc-default-does-not-match-spec",
    "doc-missing-type",
    "doc-required-mismatch",
    "mutually_exclusive-unknown",
    "no-log-needed",
    "nonexistent-parameter-documented",
    "parameter-list-no-elements",
    "parameter-type-not-in-doc",
    "undocumented-parameter",
}


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def load(name: str) -> Any:
    return yaml.safe_load(read(name))


GALAXY = load("galaxy.yml")
RUNTIME = load("meta/runtime.yml")
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
# There is a file of ignored sanity checks for each ansible-core that is supported.
CORES = sorted(path.stem.split("-")[1] for path in (ROOT / "tests" / "sanity").glob("ignore-*.txt"))


def git(*arguments: str) -> list[str]:
    command = ["git", "-c", f"safe.directory={ROOT}", *arguments, "-z"]
    return [name for name in subprocess.check_output(command, cwd=ROOT, text=True).split("\0") if name]


def section(title: str) -> str:
    """Return the text below a heading of the README."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", read("README.md"), re.MULTILINE | re.DOTALL)
    assert found, f"README.md has no section {title}"
    return found[1]


@pytest.fixture(scope="module")
def documented() -> dict[str, dict[str, Any]]:
    """Return what ansible-doc knows of each module and plugin, with the fragments."""
    command = [str(Path(sys.prefix, "bin", "ansible-doc")), "--metadata-dump", "wheelhouse.devpi"]
    where = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(Path(sys.prefix, "collections"))}
    dump = json.loads(subprocess.check_output(command, env=where, text=True))["all"]
    found = {
        name: {"kind": kind, **about}
        for kind, each in dump.items()
        if kind != "role"
        for name, about in each.items()
        if name.startswith("wheelhouse.devpi.")
    }
    assert {f"wheelhouse.devpi.{name}" for name in MODULES} < set(found)
    return found


# Communication


def test_readme_welcomes_to_the_forum_and_names_get_help_and_the_tag() -> None:
    text = section("Communication")
    assert "Join" in text
    assert "https://forum.ansible.com/c/help/6" in text
    assert re.search(r"\btag\s+\[devpi\]\(https://forum\.ansible\.com/tag/devpi\)", text)


# Infrastructure


def test_repository_and_issue_tracker_are_public_and_belong_together() -> None:
    assert GALAXY["repository"] == "https://github.com/wheelhouse/devpi"
    assert GALAXY["issues"] == GALAXY["repository"] + "/issues"
    for key in ("documentation", "homepage"):
        assert GALAXY[key].startswith("https://")
    assert GALAXY["issues"] in section("Communication")


def test_code_of_conduct_is_compatible_with_ansibles_and_readme_links_to_it() -> None:
    assert COC in read("CODE_OF_CONDUCT.md")
    assert COC in section("Communication")


def test_repository_holds_no_large_objects() -> None:
    large = {name: size for name in git("ls-files") if (size := (ROOT / name).stat().st_size) > 500_000}
    assert large == {}


def test_repository_holds_no_temporary_files() -> None:
    assert git("ls-files", "--cached", "--ignored", "--exclude-standard") == []
    names = ("*~", "*.orig", "*.rej", "*.swp", "*.bak", ".DS_Store", "*.log", ".idea/*", ".vscode/*")
    assert [name for name in git("ls-files") if any(fnmatch.fnmatch(name, each) for each in names)] == []


# Python


def test_modules_support_every_python_that_ansible_core_supports() -> None:
    assert load("tests/config.yml") == {"modules": {"python_requires": "default"}}


def test_module_utils_are_private_and_so_begin_with_an_underscore() -> None:
    files = [path.name for path in (ROOT / "plugins" / "module_utils").iterdir() if path.suffix == ".py"]
    assert [name for name in files if not name.startswith("_")] == []


# Repository structure


def test_galaxy_has_tags() -> None:
    assert GALAXY["tags"]


def test_dependencies_have_a_stable_lower_bound() -> None:
    # The collection has none; whoever adds the first one replaces this by the rule: >=1.0.0 or later.
    assert GALAXY["dependencies"] == {}


def test_runtime_names_the_oldest_ansible_core_and_everything_else_names_the_same() -> None:
    oldest = min(CORES, key=Version)
    assert RUNTIME["requires_ansible"] == f">={oldest}.0"
    deploy = [line for line in read("requirements/deploy.in").splitlines() if line.startswith("ansible-core")]
    assert deploy == [f"ansible-core>={oldest}"]
    roles = {path.parts[-3]: yaml.safe_load(path.read_text("utf-8")) for path in ROOT.glob("roles/*/meta/main.yml")}
    assert {name: meta["galaxy_info"]["min_ansible_version"] for name, meta in roles.items()} == dict.fromkeys(
        roles, oldest
    )


def test_execution_environment_gets_what_plugins_need_on_the_controller(documented: dict[str, dict[str, Any]]) -> None:
    environment = load("meta/execution-environment.yml")
    assert environment["version"] == 3
    names = read(environment["dependencies"]["python"]).splitlines()
    needed = {
        library
        for about in documented.values()
        if about["kind"] != "module"
        for line in about["doc"].get("requirements", [])
        for library in re.findall(r"Python library C\(([\w.-]+)\)", line)
    }
    assert needed
    assert {name for name in names if not name.startswith("#")} == needed


def test_plugins_are_in_directories_that_ansible_core_knows() -> None:
    loaders = [each for each in vars(ansible.plugins.loader).values() if isinstance(each, PluginLoader)]
    known = {loader.package.split(".")[-1] for loader in loaders} | {"plugin_utils", "sub_plugins"}
    found = {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found - known == set()


def test_what_users_call_needs_no_file_outside_meta_plugins_roles_and_playbooks() -> None:
    shipped = {"meta", "plugins", "roles", "playbooks"}
    roles = {path.name for path in (ROOT / "roles").iterdir()}
    for top in ("plugins", "roles", "playbooks"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix not in {".py", ".yml", ".j2", ".sh"}:
                continue
            text = path.read_text("utf-8")
            out = set(re.findall(r"role_path\W+\.\./(\w+)", text)) - roles
            out |= set(re.findall(r"parents\[\d\] / \"(\w+)\"", text)) - shipped
            assert out == set(), path


def test_action_group_is_documented_by_its_modules_and_by_no_other(documented: dict[str, dict[str, Any]]) -> None:
    # It must list each module that connects to a server too, or module_defaults would miss one.
    members = {
        name for name in MODULES if "action_group" in documented[f"wheelhouse.devpi.{name}"]["doc"]["attributes"]
    }
    connected = {name for name in MODULES if "wheelhouse.devpi.connection" in read(f"plugins/modules/{name}.py")}
    assert members == connected == set(RUNTIME["action_groups"]["devpi"])


# Documentation


def test_contributing_says_what_is_accepted() -> None:
    assert re.search(r"\b[Ii]ssues\b.*\bpull requests\b", read("CONTRIBUTING.md"))
    assert "/CONTRIBUTING.md)" in section("Communication")


def test_every_plugin_has_documentation_and_what_returns_data_has_examples_and_return(
    documented: dict[str, dict[str, Any]],
) -> None:
    for name, about in documented.items():
        assert about["doc"]["description"], name
        if about["kind"] != "callback":
            assert about["examples"], name
            assert about["return"], name


def versions_added(about: Any) -> set[str]:
    """Return every version_added in a module's or plugin's documentation, its options' and return values' too."""
    if isinstance(about, list):
        return set().union(*map(versions_added, about))
    if not isinstance(about, dict):
        return set()
    own = {about["version_added"]} if isinstance(about.get("version_added"), str) else set()
    return own.union(*map(versions_added, about.values()))


def test_version_added_is_a_release_of_this_collection_or_the_next_one(documented: dict[str, dict[str, Any]]) -> None:
    releases = load("changelogs/changelog.yaml")["releases"]
    newest = max(map(Version, releases))
    for name, about in documented.items():
        assert about["doc"]["version_added_collection"] == "wheelhouse.devpi", name
        added = versions_added([about["doc"], about["return"]])
        assert {each for each in added if each not in releases and Version(each) <= newest} == set(), name
        assert about["doc"]["version_added"] in added, name


def tasks_of(item: Any) -> list[dict[str, Any]]:
    """Return the tasks in a list of plays, of tasks, or in a part of them."""
    if isinstance(item, list):
        return [task for each in item for task in tasks_of(each)]
    if not isinstance(item, dict):
        return []
    nested = [
        key for key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always") if key in item
    ]
    if nested or "hosts" in item:
        return [task for key in nested for task in tasks_of(item[key])]
    return [item] if "name" in item and len(item) > 1 else []


def examples(path: Path) -> list[str]:
    """Return the YAML that a document in Markdown or reStructuredText shows."""
    form = r"^```yaml\n(.*?)^```" if path.suffix == ".md" else r"^\.\. code-block:: yaml\S*\n((?:\n| +.*\n)+)"
    flags = re.MULTILINE | (re.DOTALL if path.suffix == ".md" else re.NOFLAG)
    return [textwrap.dedent(found) for found in re.findall(form, path.read_text("utf-8"), flags)]


def test_documents_name_modules_and_plugins_in_full() -> None:
    documents = [ROOT / name for name in git("ls-files", "*.md", "*.rst")]
    tasks = [
        (path.name, task) for path in documents for block in examples(path) for task in tasks_of(yaml.safe_load(block))
    ]
    assert tasks
    keywords = {*Task.fattributes, "local_action"}
    for name, task in tasks:
        calls = [key for key in task if key not in keywords and not key.startswith("with_")]
        assert [call for call in calls if not FQCN.fullmatch(call)] == [], name


# Changelog, versions and deprecation


def test_changelog_is_of_antsibull_changelog_and_has_the_usual_sections() -> None:
    config = load("changelogs/config.yaml")
    assert [key for key, _title in config["sections"]] == [
        "major_changes",
        "minor_changes",
        "breaking_changes",
        "deprecated_features",
        "removed_features",
        "security_fixes",
        "bugfixes",
        "known_issues",
    ]
    releases = load("changelogs/" + config["changes_file"])["releases"]
    assert max(map(Version, releases)) <= Version(GALAXY["version"])


def test_versions_are_semantic_and_documents_say_so() -> None:
    assert re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?", GALAXY["version"])
    for text in (section("Releases"), read("CONTRIBUTING.md"), read("MAINTAINERS.md")):
        assert "[semantic versioning](https://semver.org)" in text


def test_policy_of_deprecation_and_release_notes_are_in_the_readme() -> None:
    assert "Deprecation" in section("Releases")
    assert "/CHANGELOG.md)" in section("Releases")


def test_readme_names_the_supported_versions_of_ansible_core() -> None:
    assert re.findall(r"\b2\.\d\d\b", section("Releases")) == sorted(CORES, key=Version)


# Naming


def test_modules_that_only_ask_are_named_info_and_check_mode_is_theirs(documented: dict[str, dict[str, Any]]) -> None:
    for name in MODULES:
        if name.endswith(("_info", "_facts")):
            attributes = documented[f"wheelhouse.devpi.{name}"]["doc"]["attributes"]
            assert attributes["check_mode"]["support"] == "full", name


def test_no_module_returns_ansible_facts(documented: dict[str, dict[str, Any]]) -> None:
    # One that does must be named _facts and return nothing else.
    for name in MODULES:
        assert "ansible_facts" not in documented[f"wheelhouse.devpi.{name}"]["return"], name
        assert not re.search(r"\bansible_facts\s*=", read(f"plugins/modules/{name}.py")), name


def states(options: dict[str, Any]) -> set[str]:
    """Return the choices of state, of options in options too."""
    found = set(options.get("state", {}).get("choices", []))
    return found.union(*(states(option.get("suboptions", {})) for option in options.values()))


def test_no_state_only_asks(documented: dict[str, dict[str, Any]]) -> None:
    choices = {name: states(documented[f"wheelhouse.devpi.{name}"]["doc"].get("options", {})) for name in MODULES}
    assert choices["devpi_user"] == {"present", "absent"}
    for name, each in choices.items():
        assert each & {"get", "list", "query", "info", "show", "read"} == set(), name


# Licences


def test_everything_is_gpl_3_or_later() -> None:
    assert GALAXY["license"] == ["GPL-3.0-or-later"]
    assert read("LICENSES/GPL-3.0-or-later.txt") == read("LICENSE")
    assert "Version 3, 29 June 2007" in read("LICENSE")
    assert "GPL-3.0-or-later" in section("Releases")
    for path in (ROOT / "plugins").rglob("*.py"):
        # written so that reuse does not take it for this file's own licence
        header = re.search(r"^# SPDX-License-Id\w+: (.+)$", path.read_text("utf-8"), re.MULTILINE)
        assert header, path
        assert header[1] == "GPL-3.0-or-later", path
    for path in ROOT.glob("roles/*/meta/main.yml"):
        assert yaml.safe_load(path.read_text("utf-8"))["galaxy_info"]["license"] == "GPL-3.0-or-later", path


def test_contributors_sign_no_agreement() -> None:
    text = read("CONTRIBUTING.md") + read(".github/PULL_REQUEST_TEMPLATE.md")
    assert not re.search(r"contributor licen[cs]e agreement|\bCLA\b", text, re.IGNORECASE)
    assert "There is no other agreement to sign." in text


# Tests in CI


def ignored() -> list[str]:
    return [line for core in CORES for line in read(f"tests/sanity/ignore-{core}.txt").splitlines() if line]


def test_ignored_sanity_checks_are_justified_and_none_is_forbidden() -> None:
    for line in ignored():
        entry, _hash, reason = line.partition(" # ")
        assert reason, line
        assert entry.split()[1].rpartition(":")[2] not in NEVER_IGNORED, line


def triggers(name: str) -> dict[str, Any]:
    return load(f".github/workflows/{name}.yml")["on"]


def test_all_tests_run_for_every_pull_request() -> None:
    # None: no filter of branches or paths
    assert triggers("tests")["pull_request"] is None
    steps = load(".github/workflows/tests.yml")["jobs"]["tests"]["steps"]
    assert "script/test --keep-going" in [step.get("run") for step in steps]


def test_all_tests_run_at_least_once_a_week() -> None:
    for name in ("tests", "images"):
        crons = [each["cron"].split() for each in triggers(name)["schedule"]]
        # day of the month and month: any
        assert [cron for cron in crons if cron[2:4] == ["*", "*"]], name


def test_every_pull_request_is_tested_with_each_supported_ansible_core() -> None:
    names = [path.stem for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    jobs = [load(f".github/workflows/{name}.yml")["jobs"] for name in names if "pull_request" in triggers(name)]
    matrices = json.dumps([job.get("strategy") for each in jobs for job in each.values()])
    assert sorted(set(re.findall(r'"(2\.\d\d)"', matrices))) == CORES


def test_supported_versions_of_ansible_core_follow_one_another() -> None:
    minors = sorted(int(core.split(".")[1]) for core in CORES)
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert all(Version(f"{core}.0") in SpecifierSet(RUNTIME["requires_ansible"]) for core in CORES)


# What else the project promises to whoever takes part


def test_security_says_how_to_report_and_which_versions_get_fixes() -> None:
    text = read("SECURITY.md")
    for each in (PRIVATELY, "## Versions that get fixes", "## What happens then"):
        assert each in text
    assert "/SECURITY.md)" in section("Communication")


def test_maintainers_are_named() -> None:
    assert re.search(r"^\| \[@[\w-]+\]\(https://github\.com/[\w-]+\) \|", read("MAINTAINERS.md"), re.MULTILINE)


def test_bug_report_asks_for_what_is_needed_and_no_secrets() -> None:
    form = load(".github/ISSUE_TEMPLATE/bug_report.yml")
    fields = {each["id"]: each for each in form["body"] if each["type"] != "markdown"}
    wanted = {"summary", "component", "collection", "ansible-core", "target", "devpi", "steps", "output"}
    assert {name for name, each in fields.items() if each["validations"]["required"]} == wanted
    assert "-vvv" in fields["output"]["attributes"]["label"]
    assert "Replace passwords, tokens" in fields["output"]["attributes"]["description"]


@pytest.mark.parametrize("name", ["bug_report", "feature_request"])
def test_issue_forms_are_what_github_takes(name: str) -> None:
    form = load(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= set(form) <= {"name", "description", "labels", "body"}
    ids = [each["id"] for each in form["body"] if each["type"] != "markdown"]
    assert len(set(ids)) == len(ids) > 0
    for each in form["body"]:
        assert each["type"] in {"markdown", "input", "textarea"}
        assert each["attributes"]["value" if each["type"] == "markdown" else "label"]


def test_vulnerabilities_and_questions_are_led_elsewhere_than_to_issues() -> None:
    links = {link["url"] for link in load(".github/ISSUE_TEMPLATE/config.yml")["contact_links"]}
    assert {PRIVATELY, "https://forum.ansible.com/tags/c/help/6/devpi"} < links


def test_actions_are_kept_current() -> None:
    [update] = load(".github/dependabot.yml")["updates"]
    assert (update["package-ecosystem"], update["directory"]) == ("github-actions", "/")


def test_locks_are_upgraded_every_week_and_the_tests_run_on_the_result() -> None:
    assert triggers("locks")["schedule"]
    [job] = load(".github/workflows/locks.yml")["jobs"].values()
    script = "\n".join(step.get("run", "") for step in job["steps"])
    for each in ("script/lock --upgrade", "gh pr create", "gh workflow run tests.yml"):
        assert each in script


def test_pre_commit_has_no_versions_of_its_own() -> None:
    [repo] = load(".pre-commit-config.yaml")["repos"]
    assert repo["repo"] == "local"
    assert [(hook["entry"], hook["language"]) for hook in repo["hooks"]] == [("script/test static", "system")]
