#!/usr/bin/python
# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create, list and revoke the tokens of a devpi user."""

from __future__ import annotations

DOCUMENTATION = r"""
module: devpi_token
short_description: Create, list and revoke the tokens of a devpi user
version_added: 0.1.0
description:
  - A token takes the place of its user's password in pip, uv, twine and every other tool that sends a name and a
    password. The name is that of the user, the password is the token.
  - What a token may do can be restricted. With no token can users be changed, or other tokens made or listed.
  - The server has to have the plugin C(devpi-tokens), which V(devpi_venv_tokens=true) of the role
    wheelhouse.devpi.venv installs. Without it the module fails before anything is changed.
  - The secret is known once, when the token is made. With O(path) it is written to a file on the managed host and is in
    no output. A token that the file holds already is kept as long as the server knows and takes it, its restrictions
    are those declared, and its end is further away than O(renew_before). Otherwise a new one is made, written, and then
    the one that was in the file is revoked.
  - Without O(path) the secret is the result's RV(token), and each run makes another token. That is refused unless the
    task has C(no_log=true), since Ansible would print it.
extends_documentation_fragment:
  - wheelhouse.devpi.connection
  - wheelhouse.devpi.attributes
attributes:
  check_mode:
    support: partial
    details:
      - C(changed), RV(revoked) and the diff are those of the real run. The id of a new token cannot be predicted, so
        RV(id) is missing, and RV(tokens) is without the new one.
      - That the server refuses an O(expires) of more than a year from O(username) comes out in the real run alone.
  diff_mode:
    support: full
    details: Shows the tokens concerned with their restrictions, a new one as V((new\)), and why one is replaced.
options:
  user:
    description: Whose tokens they are. The user has to exist, unless O(state=absent).
    type: str
    required: true
  state:
    description:
      - V(present) makes a token, or keeps the one in O(path).
      - V(absent) revokes a token, which takes effect at once. One of O(path), O(id) and O(force) says which.
      - V(listed) changes nothing.
    type: str
    choices: [present, absent, listed]
    default: present
  path:
    description:
      - The absolute path of the file that holds the token, and nothing else but a newline. It has mode V(0600); mode,
        owner and group are mended where they differ.
      - Its directory has to exist, and O(owner) has to be able to write there, and nobody else but root.
      - A file that holds something else than a token of O(user) is refused.
      - With O(state=absent) the token in the file is revoked, and the file is removed.
    type: path
  owner:
    description:
      - The login name of the file's owner. Run as root, the module acts with the rights of O(owner) on the file.
      - The default is the user that the module runs as.
    type: str
  id:
    description: With O(state=absent), the token to revoke.
    type: str
  force:
    description: With O(state=absent), revoke all tokens of the user.
    type: bool
    default: false
  allowed:
    description:
      - The permissions that the token has, of those that its user has; all of them where this is not set.
      - To upload releases takes V(upload), to download from an index whose readers are restricted V(pkg_read).
    type: list
    elements: str
    choices:
      - del_entry
      - del_project
      - del_verdata
      - index_create
      - index_delete
      - index_modify
      - pkg_read
      - toxresult_upload
      - upload
  indexes:
    description: The indexes where the token can be used, each as V(user/index); all of them where this is not set.
    type: list
    elements: str
  projects:
    description: The projects for which the token can be used; all of them where this is not set.
    type: list
    elements: str
  expires:
    description:
      - When a new token ends. A duration such as V(90d), with V(s), V(m), V(h), V(d) or V(w) behind the number; a time
        such as V(2030-01-31) or V(2030-01-31T12:00:00Z), in UTC where it has no zone; or V(never).
      - With a duration, a token in O(path) that would live longer than that is replaced, and one with less time left
        is kept until O(renew_before).
      - More than a year, or V(never), the server takes only from root or those whom its C(restrict-modify) names.
    type: str
    default: 365d
  renew_before:
    description:
      - How long before its end the token in O(path) is replaced, as a duration that is shorter than O(expires).
      - It has no effect where O(expires) is no duration.
    type: str
    default: 30d
  not_before:
    description: A time from which on the token can be used, written as in O(expires).
    type: str
  credentials_dir:
    description:
      - A directory on the managed host where passwords are kept, each in a file named after its user. When O(password)
        is not set, the file named after O(username) is read in its place.
    type: path
notes:
  - Each run logs in, as tokens are listed only to those who may change the user. A server with C(restrict-modify)
    takes that from the users that it names there, and from nobody else.
  - The server stores no label. A token that is made for O(path) without O(not_before) therefore has a C(not_before)
    that is negative, at random and without effect, by which it is known again after a run that was interrupted. What
    such a run set out to do is in a file beside O(path), C(.NAME.unfinished), that holds no secret. The next run for
    this O(path) revokes what is left over and removes that file. With O(not_before) it cannot tell its own tokens from
    others, and names those in question in a warning.
  - Two runs for one O(path) on a host work one after the other.
  - A token whose file was removed by hand stays valid until it ends. O(state=listed) shows it.
  - Run with the setting C(no_target_syslog), the module cannot see whether the task has C(no_log=true), and takes it
    for granted.
seealso:
  - module: wheelhouse.devpi.devpi_users
author:
  - The wheelhouse.devpi authors (@wheelhouse)
"""

EXAMPLES = r"""
- name: Give the build agent a token to publish to one index
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    path: /etc/ci/devpi-token
    allowed: [upload, pkg_read]
    indexes: [team/dev]
    expires: 90d
    renew_before: 14d

- name: Get a token that a pipeline hands on
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    allowed: [pkg_read]
    expires: 8h
  no_log: true
  register: handed_on

- name: See which tokens there are
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    state: listed
  register: listed

- name: Revoke those that never end
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    state: absent
    id: "{{ item }}"
  loop: "{{ listed.tokens | selectattr('expires', 'eq', 'never') | map(attribute='id') }}"

- name: Take the build agent's token away
  wheelhouse.devpi.devpi_token:
    url: http://127.0.0.1:3141
    credentials_dir: /etc/devpi/credentials
    user: ci
    path: /etc/ci/devpi-token
    state: absent
"""

RETURN = r"""
id:
  description: The id of the token that was made or kept. It is no secret.
  returned: with O(state=present), not in check mode where a new one is to be made
  type: str
  sample: JpW8DxM5
token:
  description: The secret of the token.
  returned: with O(state=present) without O(path), not in check mode
  type: str
  sample: devpi-AgEAAgtjaS1KcFc4RHhNNQ
revoked:
  description: The ids of the tokens that were revoked, or in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [QzQ5mK7x]
tokens:
  description: The user's tokens after the run, without their secrets. Those that are over are listed by the server too.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The token's id.
      type: str
    allowed:
      description: The permissions, where they are restricted.
      type: list
      elements: str
    indexes:
      description: The indexes, where they are restricted.
      type: list
      elements: str
    projects:
      description: The projects, where they are restricted.
      type: list
      elements: str
    expires:
      description: The end in UTC, or V(never).
      type: str
    not_before:
      description: The beginning in UTC, where there is one.
      type: str
  sample:
    - id: JpW8DxM5
      allowed: [pkg_read, upload]
      indexes: [team/dev]
      expires: "2030-01-31T12:00:00Z"
"""

import contextlib
import time
from dataclasses import dataclass
from typing import Any, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.wheelhouse.devpi.plugins.module_utils._account import AccountError, account_of
from ansible_collections.wheelhouse.devpi.plugins.module_utils._client import (
    ClientError,
    RequestFailed,
    connection_options,
)
from ansible_collections.wheelhouse.devpi.plugins.module_utils._credentials import CredentialsError
from ansible_collections.wheelhouse.devpi.plugins.module_utils._declared import FORBIDDEN_IN_NAMES
from ansible_collections.wheelhouse.devpi.plugins.module_utils._session import connect, kept_passwords
from ansible_collections.wheelhouse.devpi.plugins.module_utils._token_file import TokenFile, Unfinished
from ansible_collections.wheelhouse.devpi.plugins.module_utils._tokens import (
    CLOCKS,
    MARK,
    PERMISSIONS,
    Declared,
    NoSuchUser,
    Token,
    TokenApi,
    TokenError,
    declared_token,
    described,
    read_secret,
    stored,
)

NEW = "(new)"


@dataclass(frozen=True)
class Plan:
    """What a run is to do.

    :param listed: the user's tokens as they are.
    :param flaw: why a new token is to be made; empty where none is.
    :param kept: the token in the file.
    :param leftovers: tokens that interrupted runs left behind.
    :param doubtful: ids of tokens that an interrupted run may have left behind.
    :param outdated: those revoked last: the one that is replaced, or those that are to be absent.
    :param file_state: mode, owner and group of the file, where there is one.
    :param file_differs: they are to be mended, or the file is to be removed.
    :param unfinished: an interrupted run left a note.
    """

    listed: list[Token]
    flaw: str = ""
    kept: Token | None = None
    leftovers: tuple[Token, ...] = ()
    doubtful: tuple[str, ...] = ()
    outdated: tuple[Token, ...] = ()
    file_state: dict[str, str] | None = None
    file_differs: bool = False
    unfinished: bool = False

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.flaw or self.revoked or self.file_differs or self.unfinished)

    @property
    def revoked(self) -> tuple[Token, ...]:
        """Return what is revoked, in that order."""
        return self.leftovers + self.outdated


class Run:
    """One run of the module.

    :param api: logged in.
    :param declared: the token that is to be there; None for the other states.
    :param file: None where there is no path.
    """

    def __init__(self, module: AnsibleModule, api: TokenApi, declared: Declared | None, file: TokenFile | None) -> None:
        self.module = module
        self.user: str = module.params["user"]
        self.api = api
        self.declared = declared
        self.file = file

    def converge(self) -> dict[str, Any]:
        """Do what the task asks, and return the module's result."""
        plan = self.plan()
        made: dict[str, str] = {}
        if plan.changes and not self.module.check_mode:
            if self.file is not None and self.file.has_directory:
                with self.file.held(self.module.params["timeout"]):
                    # Another run may have been at work until now.
                    plan = self.plan()
                    made = self.apply(plan)
            else:
                made = self.apply(plan)
        if plan.doubtful:
            self.module.warn(
                f"a run that was interrupted may have left tokens of {self.user} behind that nobody holds: "
                f"{', '.join(plan.doubtful)}; revoke those that are not in use with state: absent and id"
            )
        gone = {token.id for token in plan.revoked}
        after = self.listed() if self.api.changed else plan.listed
        result: dict[str, Any] = {
            "changed": plan.changes,
            "revoked": [token.id for token in plan.revoked],
            "tokens": [{"id": token.id, **described(token.restrictions)} for token in after if token.id not in gone],
            **made,
        }
        if self.declared is not None and plan.kept is not None and not plan.flaw:
            result["id"] = plan.kept.id
        if self.module._diff:
            result["diff"] = self.diff(plan)
        return result

    def plan(self) -> Plan:
        """Return what is to be done."""
        listed = self.listed()
        if self.file is not None and self.file.has_directory:
            return self.plan_file(self.file, listed)
        if self.declared is not None:
            return Plan(listed, flaw="each run makes one")
        params = self.module.params
        wanted = {params["id"]} if params["id"] else {token.id for token in listed if params["force"]}
        return Plan(listed, outdated=tuple(token for token in listed if token.id in wanted))

    def plan_file(self, file: TokenFile, listed: list[Token]) -> Plan:
        """Return what is to be done for a path."""
        secret = file.read()
        self.conceal(secret)
        kept = None
        with contextlib.suppress(TokenError):
            kept = read_secret(secret) if secret else None
        unfinished = file.unfinished()
        for other, held in ((kept, file.target), (unfinished, file.note)):
            # Who may write there must not have the tokens of others revoked.
            if other is not None and other.user != self.user:
                raise TokenError(
                    f"path: {held} is about a token of {other.user}, not of {self.user}; revoke it with user: "
                    f"{other.user} and state: absent, or name another path"
                )
        there = tuple(token for token in listed if kept is not None and token.id == kept.id)
        others = [token for token in listed if token not in there]
        leftovers, doubtful = left_by(unfinished, others) if unfinished else ((), ())
        flaw = ""
        if self.declared is not None:
            flaw = self.flaw(self.declared, secret, kept, bool(there))
        state = file.state()
        return Plan(
            listed,
            flaw,
            kept,
            leftovers,
            doubtful,
            outdated=there if flaw or self.declared is None else (),
            file_state=state,
            file_differs=state is not None and (self.declared is None or state != file.wanted_state()),
            unfinished=unfinished is not None,
        )

    def flaw(self, declared: Declared, secret: str | None, kept: Token | None, known: bool) -> str:
        """Return why what the file holds is not the token that is declared, or nothing where it is."""
        if secret is None:
            return "there is none"
        if kept is None:
            return "it is cut off"
        if not known:
            return "it is revoked"
        now = int(time.time())
        found = declared.flaw(kept, now)
        # Before its time the server takes no token.
        begun = declared.not_before is None or declared.not_before < now - CLOCKS
        if not found and begun and not self.api.accepts(self.user, secret):
            return "the server does not take it"
        return found

    def apply(self, plan: Plan) -> dict[str, str]:
        """Do it, and return what the result says of a new token."""
        made: dict[str, str] = {}
        for token in plan.leftovers:
            self.api.revoke(token.user, token.id)
        if plan.flaw and self.declared is not None:
            made = self.make(self.declared, plan.outdated)
        elif plan.file_differs and self.declared is not None and self.file is not None:
            self.file.write(self.file.read() or "")
        for token in plan.outdated:
            self.api.revoke(token.user, token.id)
        if self.file is not None and self.file.has_directory:
            if self.declared is None:
                self.file.remove()
            self.file.end()
        return made

    def make(self, declared: Declared, replaced: tuple[Token, ...]) -> dict[str, str]:
        """Make a token, and write it where a path is given."""
        body = declared.restrictions(int(time.time()), marked=self.file is not None)
        if self.file is None:
            secret = self.api.create(self.user, body)
            return {"id": read_secret(secret).id, "token": secret}
        self.file.begin(Unfinished(self.user, stored(body), tuple(token.id for token in replaced)))
        try:
            secret = self.api.create(self.user, body)
        except RequestFailed as error:
            if error.status < 500:
                self.file.end()
            raise
        self.conceal(secret)
        token = read_secret(secret)
        try:
            self.file.write(secret)
        except OSError:
            self.api.revoke(self.user, token.id)
            self.file.end()
            raise
        return {"id": token.id}

    def listed(self) -> list[Token]:
        """Return the user's tokens; those of a user who is gone are absent."""
        try:
            return self.api.of(self.user)
        except NoSuchUser:
            if self.module.params["state"] != "absent":
                raise
            return []

    def conceal(self, secret: str | None) -> None:
        """Have the secret in no output."""
        if secret:
            self.module.no_log_values.add(secret)

    def diff(self, plan: Plan) -> dict[str, Any]:
        """Return the file and the tokens concerned before and after, in check mode in the same words."""
        before: dict[str, Any] = {token.id: described(token.restrictions) for token in plan.revoked}
        after: dict[str, Any] = {}
        if plan.flaw and self.declared is not None:
            after[NEW] = self.declared.shown()
        if self.file is not None and (plan.flaw or plan.file_differs):
            token = plan.kept.id if plan.kept else "none"
            if plan.file_state is not None:
                before[self.file.path] = {**plan.file_state, "token": token}
                if plan.flaw:
                    before[self.file.path]["token"] += f" ({plan.flaw})"
            if self.declared is not None:
                after[self.file.path] = {**self.file.wanted_state(), "token": NEW if plan.flaw else token}
        return {"before": before, "after": after}


def left_by(unfinished: Unfinished, others: list[Token]) -> tuple[tuple[Token, ...], tuple[str, ...]]:
    """Return the tokens that an interrupted run left behind, and the ids of those that it may have left behind.

    :param others: the user's tokens less the one in the file.
    """
    alike = tuple(token for token in others if token.restrictions == unfinished.restrictions)
    replaced = tuple(token for token in others if token.id in unfinished.replaces)
    if any(each.startswith(MARK) for each in unfinished.restrictions):
        return alike + replaced, ()
    return replaced, tuple(token.id for token in alike)


def problems_with(params: Mapping[str, Any], no_log: bool) -> list[str]:
    """Return what is wrong with the options that say what is to be done."""
    problems = []
    state = params["state"]
    if not params["user"] or FORBIDDEN_IN_NAMES.search(params["user"]):
        problems.append(f"user: {params['user']!r} is no name of a devpi user")
    which = [name for name in ("path", "id", "force") if params[name]]
    if state == "absent" and len(which) != 1:
        problems.append(f"state: absent takes one of path, id and force, and {' and '.join(which) or 'none'} is given")
    wrong = [name for name in which if state == "listed" or (state == "present" and name != "path")]
    problems += [f"{name}: it has no meaning with state: {state}; leave it out" for name in wrong]
    if state == "present" and not params["path"] and not no_log:
        problems.append(
            "without path the secret is in the task's result, which Ansible prints; set 'no_log: true' for the task, "
            "or give a path"
        )
    return problems


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "user": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "listed"], "default": "present"},
            "path": {"type": "path"},
            "owner": {"type": "str"},
            "id": {"type": "str"},
            "force": {"type": "bool", "default": False},
            "allowed": {"type": "list", "elements": "str", "choices": PERMISSIONS},
            "indexes": {"type": "list", "elements": "str"},
            "projects": {"type": "list", "elements": "str"},
            "expires": {"type": "str", "default": "365d"},
            "renew_before": {"type": "str", "default": "30d"},
            "not_before": {"type": "str"},
            "credentials_dir": {"type": "path"},
        },
        supports_check_mode=True,
    )
    params = module.params
    problems = problems_with(params, module.no_log)
    api = None
    try:
        declared = None
        if params["state"] == "present":
            try:
                declared = declared_token(params, int(time.time()))
            except TokenError as error:
                problems += str(error).splitlines()
        if problems:
            raise TokenError("\n- ".join(["Nothing was changed.", *problems]) if problems[1:] else problems[0])
        file = TokenFile(params["path"], account_of(params["owner"])) if params["path"] else None
        if file is not None and declared is not None and not file.has_directory:
            raise TokenError(f"path: there is no directory {file.target.parent}; make it, or name another path")
        client = connect(module, kept_passwords(module))
        api = TokenApi(client)
        api.require_plugin(params["user"])
        client.login()
        result = Run(module, api, declared, file).converge()
    except (AccountError, ClientError, CredentialsError, TokenError) as error:
        module.fail_json(msg=str(error), changed=api is not None and api.changed)
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or params['path']}: {error.strerror}; the next run goes on from here",
            changed=api is not None and api.changed,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
