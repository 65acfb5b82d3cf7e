# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be declared of users and indexes: as options of their own, and nested in one option."""

from __future__ import annotations

import textwrap

# An option of the same object is written O(@name); the fragments put the path to it in the place of the @.
USER = r"""
state:
  description: Whether the user exists.
  type: str
  choices: [present, absent]
  default: present
password:
  description: The user's password. It is stored nowhere but, as a hash, on the server. Empty is as good as none.
  type: str
password_hash:
  description:
    - The hash of the user's password as devpi-server keeps it, C($argon2id$…), made elsewhere, in place of
      O(@password). It costs the server nothing, where a password costs it 0.2 s and more.
    - It is set when the user is created. A server shows no hash, so O(@update_password=always) needs a password.
  type: str
update_password:
  description:
    - V(on_create) sets the password when the user is created and never again.
    - V(always) tries by a login whether the password still holds, and sets it where it doesn't. A login costs the
      server as much as setting a password (0.2 s and more, for each such user). Without O(@password) the
      one in O(credentials_dir) holds, or a new one.
  type: str
  choices: [on_create, always]
  default: on_create
email:
  description: The user's e-mail address, which anyone can read. Empty removes it.
  type: str
title:
  description: A title. Empty removes it.
  type: str
description:
  description: A description. Empty removes it.
  type: str
custom_data:
  description: Any data, kept by the server as it is. Empty removes it.
  type: raw
force:
  description: With O(@state=absent), delete the user together with all indexes and packages.
  type: bool
  default: false
"""

INDEX = r"""
state:
  description: Whether the index exists.
  type: str
  choices: [present, absent]
  default: present
type:
  description:
    - V(stage) holds packages of one's own, V(mirror) serves another index's. devpi-server 7 calls them V(local) and
      V(remote); both spellings hold for every server.
    - Or a type that a plugin of the server brings, such as V(constrained) of devpi-constrained. Such an index has what
      a stage has, and what the plugin defines in O(@options). Whether there is such a type, only the server
      tells, when the index is made.
    - A new index is a V(stage) where this is not set. The type of an index that exists cannot be changed.
  type: str
volatile:
  description:
    - Whether releases can be replaced and deleted. The server's default for a new index is V(true).
  type: bool
title:
  description: A title. Empty is as good as none.
  type: str
description:
  description: A description. Empty is as good as none.
  type: str
custom_data:
  description: Any data, kept by the server as it is.
  type: raw
bases:
  description:
    - For a stage, the indexes whose packages it serves too, each as V(user/index), the first of them first.
    - Each has to exist or to be declared. The server's default for a new index is none.
  type: list
  elements: str
acl_upload:
  description:
    - For a stage, who may upload; the server's default for a new index is its user.
    - A user who exists or is declared, V(:AUTHENTICATED:), V(:ANONYMOUS:), or V(:group) for a group that an
      authentication plugin knows.
  type: list
  elements: str
acl_toxresult_upload:
  description:
    - For a stage, who may upload test results; the server's default is V(:ANONYMOUS:), with which anybody can store
      data there without a login.
    - Where this is not set, those who may upload releases may, on a new stage as on one that has the server's default.
      Another list that somebody set on the server stays.
  type: list
  elements: str
mirror_whitelist:
  description:
    - For a stage, the projects that are also taken from mirrors among its bases although a stage holds them.
    - V(*) means all of them and needs O(@accept_dependency_confusion).
    - devpi-server 7 has a rule for all projects, V([]) or V(['*']), and keeps those for single projects with the
      project; names are refused there.
  type: list
  elements: str
mirror_whitelist_inheritance:
  description:
    - How the O(@mirror_whitelist) of a stage and those of its bases become one. The server's default for a new index
      is V(intersection). devpi-server 7 calls it C(trust_inheritance_rules_from).
  type: str
  choices: [intersection, union]
mirror_url:
  aliases: [remote_url]
  description:
    - For a mirror, the address of the simple page that it mirrors. A new mirror needs one.
    - Anyone who can reach the server can read it, with the credentials that it holds.
  type: str
mirror_web_url_fmt:
  aliases: [remote_web_url_fmt]
  description: For a mirror, the address of a project's page upstream, with C({name}) in place of its name.
  type: str
mirror_cache_expiry:
  aliases: [remote_refresh_delay]
  description: For a mirror, for how many seconds an upstream's page is taken as current.
  type: int
mirror_use_external_urls:
  aliases: [remote_use_external_urls]
  description: For a mirror, whether files are left where they are and only linked to.
  type: bool
mirror_no_project_list:
  aliases: [remote_no_project_list]
  description:
    - For a mirror, V(true) keeps the server from ever downloading the list of all project names.
    - Single projects are served all the same. For a mirror of the public index it saves 640 MB of memory.
  type: bool
mirror_ignore_serial_header:
  description: For a mirror, whether the upstream's serial numbers are left aside. Needs devpi-server 6.17;
    7 has no such key.
  type: bool
mirror_provides_core_metadata:
  description: For a mirror, whether its upstream serves metadata as files (PEP 658). Needs devpi-server
    6.20; 7 has no such key.
  type: bool
options:
  description:
    - Settings that a plugin of the server defines, by name, such as C(constraints). They are compared with what the
      server shows, so write each value as it stores it, a list of lines as a list.
    - What has an option of its own is refused here. Settings that are not named stay as they are.
  type: dict
accept_dependency_confusion:
  description: Acknowledge what V(*) in O(@mirror_whitelist) means.
  type: bool
  default: false
force:
  description:
    - With O(@state=absent), delete the index even when it is not volatile or another index
      builds on it.
  type: bool
  default: false
"""

USER_NAME = r"""
name:
  description:
    - The user's name. Of ASCII's symbols devpi takes only C(-), C(.), C(@) and C(_).
    - C(root) exists on every server and cannot be V(absent).
  type: str
  required: true
"""

USERS = r"""
options:
  users:
    description: The users and their indexes.
    type: list
    elements: dict
    required: true
    suboptions:
"""

INDEXES = r"""
indexes:
  description: The user's indexes. Those that are not named stay as they are.
  type: list
  elements: dict
  suboptions:
    name:
      description: The index's name without its user's, V(dev) for C(alice/dev).
      type: str
      required: true
"""


def _options(text: str, path: str, indent: int) -> str:
    return textwrap.indent(text.strip("\n").replace("O(@", f"O({path}"), " " * indent) + "\n"


class ModuleDocFragment:
    """The options whose specs are in ``_declared``."""

    DOCUMENTATION: str = (
        USERS
        + _options(USER_NAME, "users[].", 6)
        + _options(USER, "users[].", 6)
        + _options(INDEXES, "users[].", 6)
        + _options(INDEX, "users[].indexes[].", 10)
    )
    # Beside the options of the connection, password would be whose?
    USER_KEYS: str = (
        ("options:\n" + _options(USER_NAME, "", 2) + _options(USER, "", 2))
        .replace("\n  password:", "\n  user_password:")
        .replace("O(password)", "O(user_password)")
    )
    INDEX_KEYS: str = "options:\n" + _options(INDEX, "", 2)
