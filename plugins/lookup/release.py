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
  - Looks at what C(pip) would see on the index, releases of its bases included, and returns the newest release that
    fits, with the address and checksum of its file, for a play to pin what it deploys.
  - Versions are ordered and matched as PEP 440 says, by the library C(packaging) that ansible-core depends on.
  - A pre-release is returned only with O(prereleases), or where the specifier itself names one, as in V(>=2.0rc1), and
    no final release fits. C(pip) takes one more readily.
  - A release that an upstream has yanked is returned only where the specifier names just that version, as in V(==1.2).
  - The managed host's Python is not known here. What a release asks for is returned as RV(_list[].requires_python).
  - Runs on the controller and asks the server anew each time that its template is evaluated. Keep the result with
    M(ansible.builtin.set_fact) where several tasks have to agree.
options:
  _terms:
    description:
      - Projects, each with the versions that may be taken, V(latexhelper) or V(latexhelper>=1,<2).
    type: list
    elements: str
    required: true
  index:
    description: The index to look on, as V(user/index).
    type: str
    required: true
  prefer:
    description:
      - The kind of file that is returned where a release has both.
      - Of several wheels it is one for any platform and Python 3. Where each is for a certain platform or Python it is
        the first by name; choose among RV(_list[].files) then.
    type: str
    choices: [wheel, sdist]
    default: wheel
  prereleases:
    description: Whether pre-releases and development releases are as good as final ones.
    type: bool
    default: false
  url:
    description:
      - The address of the devpi-server, V(http://127.0.0.1:3141), with the path under which a proxy serves it and
        without credentials.
      - Redirects are not followed. A password over plain http to another machine works, with a warning.
    type: str
    required: true
    env:
      - name: DEVPI_URL
  username:
    description: The devpi user who asks, where a password is given.
    type: str
    default: root
    env:
      - name: DEVPI_USERNAME
  password:
    description:
      - That user's password. With it the lookup logs in (0.2 s and more), which only a server that hides something
        needs.
    type: str
    env:
      - name: DEVPI_PASSWORD
  validate_certs:
    description: Whether the server's TLS certificate is verified.
    type: bool
    default: true
  ca_path:
    description: A file on the controller with the CA certificates to trust, in PEM; the system's where it is not set.
    type: path
  client_cert:
    description: A file on the controller with the certificate to show to the server, in PEM. It may hold the key too.
    type: path
  client_key:
    description: A file on the controller with the key of O(client_cert), in PEM.
    type: path
  use_proxy:
    description: Whether the proxy in the environment is used. It never is for loopback addresses.
    type: bool
    default: true
  timeout:
    description: How many seconds to wait for a connection and for each part of an answer.
    type: int
    default: 30
notes:
  - Where a mirror among the bases may have the project too, the server asks its upstream.
seealso:
  - module: wheelhouse.devpi.devpi_info
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Find the newest release of version 1, once for all tasks
  ansible.builtin.set_fact:
    latexhelper: "{{ lookup('wheelhouse.devpi.release', 'latexhelper>=1,<2',
      index='team/production', url='http://127.0.0.1:3141') }}"

- name: Show what to install
  ansible.builtin.debug:
    msg: "{{ latexhelper.project }}=={{ latexhelper.version }}"

- name: Fetch its file, verified
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
  description: The release found for each term, in their order. Where one has none, the lookup fails.
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
      description: Its address, without credentials.
      type: str
    sha256:
      description: Its checksum; null where an upstream tells none.
      type: str
    requires_python:
      description: The versions of Python that it is for, V(>=3.8); null for all.
      type: str
    yanked:
      description: V(false), V(true), or the reason why an upstream withdrew it.
      type: raw
    files:
      description:
        - All files of the release, by name, each with C(filename), C(url), C(sha256), C(requires_python) and C(yanked)
          as above, the C(index) that holds it, and its C(size) in bytes, null where the server does not tell it.
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
        reason = f"only pre-releases fit ({_listed(usable)}), which prereleases=true takes"
    elif fitting:
        reason = f"all that fits was yanked ({_listed(fitting)}); to take one all the same name it with =="
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
            raise AnsibleError(f"packaging is missing, which ansible-core depends on ({MISSING}); install it anew")
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
            raise AnsibleError(f"{term!r} is no project with versions ({reason}); write it as name>=1,<2") from None
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
            "or look whether the upstream of a mirror among the bases answers"
        )
