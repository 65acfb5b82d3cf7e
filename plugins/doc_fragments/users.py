# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of users and indexes: for modules that keep one object, and nested in the option of devpi_users."""

from __future__ import annotations

import textwrap

# O(@name) is an option of the same object; the fragments replace the @ by the path to it.
USER = r"""
state:
  description: Whether the user exists. V(absent) deletes the user; one with indexes is deleted only with
    O(@force=true), together with all these indexes and packages.
  type: str
  choices: [present, absent]
  default: present
password:
  description: The user's password. Only its hash is stored, on the server. An empty password counts as not set.
  type: str
password_hash:
  description:
    - The hash of the user's password as devpi-server stores it, C($argon2id$…). Give it instead of
      O(@password). Setting a hash costs the server nothing; setting a password costs it 0.2 s or more.
    - The hash is set when the user is created. It cannot be combined with O(@update_password=always), because a
      server shows no hash to compare with.
  type: str
update_password:
  description:
    - V(on_create) sets the password when the user is created and never again.
    - V(always) logs in with the password, and sets the password if that login fails. A login costs the server as
      much as setting a password, 0.2 s or more for each such user.
    - If O(@password) is not set, the password is the one in O(credentials_dir); if there is none, a new one is
      generated.
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
  description: Any data; the server stores it unchanged. Empty removes it.
  type: raw
force:
  description: With O(@state=absent), delete the user together with B(all of the user's indexes and packages).
  type: bool
  default: false
"""

INDEX = r"""
state:
  description: Whether the index exists. V(absent) deletes it B(with all its packages). An index that is not volatile,
    or that is a base of another index, is deleted only with O(@force=true).
  type: str
  choices: [present, absent]
  default: present
type:
  description:
    - A V(stage) holds your own packages; a V(mirror) serves the packages of another index. devpi-server 7 calls them
      V(local) and V(remote); you can write either name for any server.
    - A plugin of the server can add types, such as V(constrained) of devpi-constrained. Such an index has the options
      of a stage, and in O(@options) those that the plugin defines. Only the server knows its types, so an unknown type
      fails when the index is created.
    - If not set, a new index is a V(stage). The type of an existing index cannot be changed.
  type: str
volatile:
  description:
    - Whether releases can be replaced and deleted. The server's default for a new index is V(true).
  type: bool
title:
  description: A title. An empty one counts as none.
  type: str
description:
  description: A description. An empty one counts as none.
  type: str
custom_data:
  description: Any data; the server stores it unchanged.
  type: raw
bases:
  description:
    - For a stage, the indexes whose packages it also serves, each as V(user/index), in the order in which they are
      searched.
    - Each must exist or be declared. A new index has no bases by default.
  type: list
  elements: str
acl_upload:
  description:
    - For a stage, who may upload. By default only the user who owns a new index may.
    - Each entry is a user who exists or is declared, V(:AUTHENTICATED:), V(:ANONYMOUS:), or V(:group) for a group that
      an authentication plugin knows. With V(:ANONYMOUS:) B(anyone can upload without a login).
  type: list
  elements: str
acl_toxresult_upload:
  description:
    - For a stage, who may upload test results. The server's own default is V(:ANONYMOUS:), B(with which anyone can
      store data on the server without a login).
    - If not set, whoever may upload releases may upload test results. This applies to a new stage and to a stage that
      still has the server's default; a list that somebody else set on the server is left alone.
  type: list
  elements: str
mirror_whitelist:
  description:
    - For a stage, the projects whose releases also come from mirrors among its bases, although a stage holds them.
    - V(*) means all projects and needs O(@accept_dependency_confusion).
    - devpi-server 7 accepts only V([]) and V(['*']) here, because it stores the rule for a single project with that
      project; project names are refused.
  type: list
  elements: str
mirror_whitelist_inheritance:
  description:
    - How the O(@mirror_whitelist) of a stage is combined with those of its bases. The server's default for a new index
      is V(intersection). devpi-server 7 calls this setting C(trust_inheritance_rules_from).
  type: str
  choices: [intersection, union]
mirror_url:
  aliases: [remote_url]
  description:
    - For a mirror, the URL of the simple page that it mirrors. A new mirror needs one.
    - B(Anyone who can reach the server can read this URL, including a password in it.)
  type: str
mirror_web_url_fmt:
  aliases: [remote_web_url_fmt]
  description: For a mirror, the URL of a project's page upstream, with C({name}) in place of the project's name.
  type: str
mirror_cache_expiry:
  aliases: [remote_refresh_delay]
  description: For a mirror, how many seconds a page of the upstream is used before the server asks for it again.
  type: int
mirror_use_external_urls:
  aliases: [remote_use_external_urls]
  description: For a mirror, whether pages link to the files on the upstream, so that the server does not download them.
  type: bool
mirror_no_project_list:
  aliases: [remote_no_project_list]
  description:
    - For a mirror, V(true) means that the server never downloads the list of all project names.
    - Each project is still served. For a mirror of PyPI this saves 640 MB of memory.
  type: bool
mirror_ignore_serial_header:
  description: For a mirror, whether the serial numbers of the upstream are ignored. Needs devpi-server 6.17 or a newer
    6; devpi-server 7 has no such key.
  type: bool
mirror_provides_core_metadata:
  description: For a mirror, whether its upstream serves metadata as files (PEP 658). Needs devpi-server 6.20 or a newer
    6; devpi-server 7 has no such key.
  type: bool
options:
  description:
    - Settings that a plugin of the server defines, by name, such as C(constraints). They are compared with what the
      server shows, so write each value as the server stores it; write lines of text as a list.
    - A setting that has an option of its own is refused here. Settings that you do not name stay as they are.
  type: dict
accept_dependency_confusion:
  description: Accept the danger of V(*) in O(@mirror_whitelist). B(Anyone who registers the name of one of your private
    projects upstream can then put code into it) (dependency confusion).
  type: bool
  default: false
force:
  description:
    - With O(@state=absent), delete the index B(with all its packages) even if it is not volatile or is a base of
      another index.
  type: bool
  default: false
"""

USER_NAME = r"""
name:
  description:
    - The user's name. The only ASCII symbols that devpi accepts in it are C(-), C(.), C(@) and C(_).
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
  description: The user's indexes. Indexes that you do not name stay as they are.
  type: list
  elements: dict
  suboptions:
    name:
      description: The name of the index without its user, V(dev) for C(alice/dev).
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
    # "password" is already an option of the connection: the password of the user who logs in.
    USER_KEYS: str = (
        ("options:\n" + _options(USER_NAME, "", 2) + _options(USER, "", 2))
        .replace("\n  password:", "\n  user_password:")
        .replace("O(password)", "O(user_password)")
    )
    INDEX_KEYS: str = "options:\n" + _options(INDEX, "", 2)
