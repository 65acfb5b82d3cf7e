# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the newest release on a devpi index that fits a specifier."""

from __future__ import annotations

DOCUMENTATION = r"""
name: release
short_description: Find the newest release on a devpi index that fits a specifier
version_added: 0.1.0
description:
  - Considers the releases that C(pip) would see on the index, those of its bases included, and returns the newest one
    that fits, with the URL and checksum of its file. So a play can pin what it deploys.
  - Versions are ordered and matched by PEP 440, with the library C(packaging) that ansible-core depends on.
  - A pre-release is returned only with O(prereleases), or if the specifier itself names one, as in V(>=2.0rc1), and no
    final release fits. C(pip) accepts pre-releases in more cases.
  - A release that an upstream has yanked is returned only if the specifier names exactly that version, as in V(==1.2).
  - The lookup does not know the Python of the managed host. RV(_list[].requires_python) tells which Python a release
    needs.
  - The lookup runs on the controller and asks the server again each time that its template is evaluated. If several
    tasks must use the same release, store the result with M(ansible.builtin.set_fact).
options:
  _terms:
    description:
      - Projects, each with the versions that are acceptable, V(latexhelper) or V(latexhelper>=1,<2).
    type: list
    elements: str
    required: true
  index:
    description: The index to search, as V(user/index).
    type: str
    required: true
  prefer:
    description:
      - The kind of file to return if a release has both.
      - Of several wheels, the lookup returns one for any platform and Python 3. If each wheel is for a certain platform
        or Python, it returns the first by name; then choose among RV(_list[].files) yourself.
    type: str
    choices: [wheel, sdist]
    default: wheel
  prereleases:
    description: Whether pre-releases and development releases are accepted like final releases.
    type: bool
    default: false
  url:
    description:
      - The URL of the devpi-server, such as V(http://127.0.0.1:3141). Include the path under which a proxy serves it,
        if there is one, and no credentials.
      - Redirects are not followed.
      - B(Over plain http to another machine, the password crosses the network unencrypted.) The lookup sends it and
        warns.
    type: str
    required: true
    env:
      - name: DEVPI_URL
  username:
    description: The devpi user who logs in, if O(password) is set.
    type: str
    default: root
    env:
      - name: DEVPI_USERNAME
  password:
    description:
      - The password of O(username). If it is set, the lookup logs in, which takes 0.2 s or more; only a server that
        hides something needs this.
    type: str
    env:
      - name: DEVPI_PASSWORD
  validate_certs:
    description: Whether the server's TLS certificate is verified. With V(false), B(anyone on the way to the server can
      read and change everything that is sent, the password included).
    type: bool
    default: true
  ca_path:
    description: A file on the controller with the CA certificates to trust, in PEM. If not set, those of the system.
    type: path
  client_cert:
    description: A file on the controller with the certificate to show to the server, in PEM. It may hold the key too.
    type: path
  client_key:
    description: A file on the controller with the key of O(client_cert), in PEM.
    type: path
  use_proxy:
    description: Whether to use the proxy that the environment names. Loopback addresses are always reached directly.
    type: bool
    default: true
  timeout:
    description: How many seconds to wait for a connection and for each part of an answer.
    type: int
    default: 30
notes:
  - If a mirror among the bases may have the project too, the server asks the upstream of that mirror.
seealso:
  - module: wheelhouse.devpi.devpi_info
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Find the newest 1.x release, once for all tasks
  ansible.builtin.set_fact:
    latexhelper: "{{ lookup('wheelhouse.devpi.release', 'latexhelper>=1,<2',
      index='team/production', url='http://127.0.0.1:3141') }}"

- name: Show what to install
  ansible.builtin.debug:
    msg: "{{ latexhelper.project }}=={{ latexhelper.version }}"

- name: Download its file and verify the checksum
  ansible.builtin.get_url:
    url: "{{ latexhelper.url }}"
    checksum: "sha256:{{ latexhelper.sha256 }}"
    dest: "/tmp/{{ latexhelper.filename }}"
    mode: "0644"

- name: Show the lines of a pinned requirements file
  ansible.builtin.debug:
    msg: "{{ item.project }}=={{ item.version }}{{ item.files | map(attribute='sha256')
      | map('regex_replace', '^', ' --hash=sha256:') | join }}"
  loop: "{{ query('wheelhouse.devpi.release', 'latexhelper', 'texfonts~=2.1',
    index='team/production', url='http://127.0.0.1:3141') }}"
  loop_control:
    label: "{{ item.project }}"
"""

RETURN = r"""
_list:
  description: The release found for each term, in the order of the terms. If no release fits a term, the lookup fails.
  type: list
  elements: dict
  contains:
    project:
      description: The project's name in its normal form, V(foo-bar) for Foo_Bar.
      type: str
    version:
      description: The version in its normal form.
      type: str
    filename:
      description: The name of the file that was chosen.
      type: str
    url:
      description: The URL of the file, without credentials.
      type: str
    sha256:
      description: The SHA-256 of the file; null if the upstream does not report it.
      type: str
    requires_python:
      description: The versions of Python that the file is for, V(>=3.8); null for all.
      type: str
    yanked:
      description: V(false), V(true), or the reason why the upstream yanked the file.
      type: raw
    files:
      description:
        - All files of the release, ordered by name. Each has C(filename), C(url), C(sha256), C(requires_python) and
          C(yanked), as RV(_list) has them for the chosen file, the C(index) that holds it, and its C(size) in bytes,
          which is null if the server does not report it.
      type: list
      elements: dict
  sample:
    - project: latexhelper
      version: "1.1"
      filename: latexhelper-1.1-py3-none-any.whl
      url: http://127.0.0.1:3141/team/production/+f/aaa/bfb2d2bfcda7d/latexhelper-1.1-py3-none-any.whl
      sha256: aaabfb2d2bfcda7d02e076742fb90448f5d76e75fac0be9540e527230a9f8333
      requires_python: ">=3.8"
      yanked: false
      files:
        - filename: latexhelper-1.1-py3-none-any.whl
          index: team/production
          url: http://127.0.0.1:3141/team/production/+f/aaa/bfb2d2bfcda7d/latexhelper-1.1-py3-none-any.whl
          sha256: aaabfb2d2bfcda7d02e076742fb90448f5d76e75fac0be9540e527230a9f8333
          size:
          requires_python: ">=3.8"
          yanked: false
"""

from typing import Any, Mapping

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import (
    Client,
    ClientError,
    RequestFailed,
    is_loopback,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._releases import (
    fetch_files,
    is_index,
    normalised,
    releases,
)

try:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.specifiers import SpecifierSet
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename
    from packaging.version import InvalidVersion, Version
except ImportError as error:
    # ansible-test imports plugins without what ansible-core depends on.
    MISSING: ImportError | None = error
else:
    MISSING = None

NAMED = 20  # versions that an error names at most


class NoRelease(Exception):  # noqa: N818 - named for what happened
    """Nothing fits; the message says why."""


def choose(available: list[dict[str, Any]], specifier: SpecifierSet, prereleases: bool) -> dict[str, Any]:
    """Return the newest release that fits.

    :param available: the releases, as ``releases`` returns them, the newest first.
    :raises NoRelease: none does.
    """
    fitting = [each for each in _versions(available) if specifier.contains(each[0], prereleases=True)]
    pinned = any(each.operator == "===" or _is_pin(each.operator, each.version) for each in specifier)
    usable = [each for each in fitting if pinned or not _yanked(each[1])]
    final = [each for each in usable if prereleases or not each[0].is_prerelease]
    named = bool(specifier.prereleases)
    chosen = final or (usable if named else [])
    if chosen:
        return chosen[0][1]
    reason = "no release fits"
    if usable:
        reason = f"only pre-releases fit ({_listed(usable)}); set prereleases=true to accept them"
    elif fitting:
        reason = f"everything that fits was yanked ({_listed(fitting)}); to install one anyway, name it with =="
    raise NoRelease(f"{reason}; there are {_listed(_versions(available)) or 'no releases'}")


def _versions(available: list[dict[str, Any]]) -> list[tuple[Version, dict[str, Any]]]:
    found = []
    for release in available:
        try:
            found.append((Version(release["version"]), release))
        except InvalidVersion:
            # Installers see no such release either.
            continue
    return found


def _is_pin(operator: str, version: str) -> bool:
    return operator == "==" and not version.endswith(".*")


def _yanked(release: Mapping[str, Any]) -> bool:
    return all(each["yanked"] is not False for each in release["files"])


def _listed(given: list[tuple[Version, dict[str, Any]]]) -> str:
    more = f" and {len(given) - NAMED} older ones" if len(given) > NAMED else ""
    return ", ".join(str(version) for version, _release in given[:NAMED]) + more


def preferred(candidates: list[dict[str, Any]], prefer: str) -> dict[str, Any]:
    """Return the file to install: not yanked, of the preferred kind, for any platform, where there is one."""

    def rank(each: Mapping[str, Any]) -> tuple[bool, bool, bool, str]:
        name = each["filename"]
        wheel = name.endswith(".whl")
        return each["yanked"] is not False, wheel != (prefer == "wheel"), wheel and not _is_universal(name), name

    return min(candidates, key=rank)


def _is_universal(wheel: str) -> bool:
    """Whether the wheel is for any platform and for Python 3."""
    try:
        tags = parse_wheel_filename(wheel)[3]
    except InvalidWheelFilename:
        return False
    return any(tag.platform == "any" and tag.interpreter.startswith("py3") for tag in tags)


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no type information
    """What ansible-core loads."""

    def run(self, terms: list[str], variables: Any = None, **kwargs: Any) -> list[dict[str, Any]]:
        """Return the release for each term."""
        if MISSING is not None:
            raise AnsibleError(f"packaging is missing, which ansible-core depends on ({MISSING}); install it again")
        self.set_options(var_options=variables, direct=kwargs)
        try:
            client = self._connect()
            return [self._find(client, str(term)) for term in terms]
        except ClientError as error:
            raise AnsibleError(str(error)) from None

    def _connect(self) -> Client:
        options = self.get_options()
        client = Client(
            options["url"],
            options["username"],
            options["password"],
            check_mode=True,
            validate_certs=options["validate_certs"],
            ca_path=options["ca_path"],
            client_cert=options["client_cert"],
            client_key=options["client_key"],
            proxy=options["use_proxy"],
            timeout=options["timeout"],
        )
        if client.password:
            if client.plain and not is_loopback(client.host):
                Display().warning(f"url {client.url} is plain http, so the password crosses the network unencrypted")
            client.login()
        return client

    def _find(self, client: Client, term: str) -> dict[str, Any]:
        try:
            wanted = Requirement(term)
        except InvalidRequirement as error:
            # The lines after the first point into the term.
            reason = str(error).splitlines()[0]
            raise AnsibleError(f"{term!r} is not a project with versions ({reason}); write it as name>=1,<2") from None
        if wanted.url or wanted.marker:
            raise AnsibleError(f"{term!r} has more than a project and versions; write it as name>=1,<2")
        index = self.get_option("index")
        if not is_index(index):
            raise AnsibleError(f"index {index!r} is not of the form user/index; write it so, for example root/pypi")
        try:
            available = self._releases(client, index, wanted.name)
            release = choose(available, wanted.specifier, self.get_option("prereleases"))
        except NoRelease as error:
            raise AnsibleError(f"{term} on {index} of {client.url}: {error}") from None
        file = preferred(release["files"], self.get_option("prefer"))
        about = ("filename", "url", "sha256", "requires_python", "yanked")
        return {
            "project": normalised(wanted.name),
            "version": release["version"],
            **{key: file[key] for key in about},
            "files": release["files"],
        }

    @staticmethod
    def _releases(client: Client, index: str, project: str) -> list[dict[str, Any]]:
        # Installers leave eggs aside.
        found = [each for each in fetch_files(client, index, project) if not each["filename"].endswith(".egg")]
        if found:
            return releases(found)
        try:
            client.get_json(f"/{index}?no_projects=")
        except RequestFailed as error:
            if error.status != 404:
                raise
            raise NoRelease("there is no such index; correct its name, or create it") from None
        raise NoRelease(
            "neither the index nor a base of it has files of the project; upload it, correct its name, "
            "or check whether the upstream of a mirror among the bases answers"
        )
