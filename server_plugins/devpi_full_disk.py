# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of devpi-server: if the disk is full, an upload is answered with the reason, and leaves nothing on the disk.

devpi-server by itself answers 500 without a reason, and leaves the part of a release file that it could write, in a
file whose name ends in ``-tmp``. Nobody can download that file, but a few failed uploads fill the remaining space.
"""

import errno
import hashlib
import os
import sqlite3
import threading

from pluggy import HookimplMarker
from pyramid.httpexceptions import HTTPInsufficientStorage

hookimpl = HookimplMarker("devpiserver")


@hookimpl
def devpiserver_pyramid_configure(config, pyramid_config):
    """Register the tween, outside of the one that begins and ends the transaction.

    :param config: of the server.
    :param pyramid_config: of its web application.
    """
    pyramid_config.registry["full_disk_files"] = os.path.join(str(config.server_path), "+files")
    pyramid_config.add_tween(
        "devpi_full_disk.tween_full_disk",
        under="devpi_server.views.tween_request_logging",
        over="devpi_server.views.tween_keyfs_transaction",
    )


def tween_full_disk(handler, registry):
    """Return a handler that wraps `handler`: it answers 507 if that fails because the disk is full."""

    def answer(request):
        try:
            return handler(request)
        except (OSError, sqlite3.Error) as error:
            if not is_for_want_of_room(error):
                raise
            request.log.error("no room left on a disk: %s", error)
            removed = remove_own_parts(registry["full_disk_files"])
            request.log.error("nothing was stored; parts that were removed: %s", removed)
            return HTTPInsufficientStorage(
                "The server has no room left on its disk, and nothing of this was stored. Send it again when there is.",
            )

    return answer


def is_for_want_of_room(error):
    """Return whether it is about a full disk, or a quota that is used up.

    :param error: an OSError, or an error of SQLite's, which tells them apart by words alone before Python 3.11.
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error)


def remove_own_parts(directory):
    """Remove what this thread has written and no transaction owns any more, and return the paths.

    devpi-server's `filestore_fs` names a file that is not yet committed PATH-DIGEST-tmp, with the SHA-256 of the path,
    the process and the thread for the digest. This thread's transaction is over, so what has its name is left over.

    :param directory: of the release files.
    """
    whose = f"{os.getpid()}{threading.current_thread().ident}"
    removed = []
    for parent, _directories, names in os.walk(directory):
        for name in names:
            path, digest, end = os.path.join(parent, name).rsplit("-", 2) if name.endswith("-tmp") else ("", "", "")
            if end and digest == hashlib.sha256(f"{path}{whose}".encode()).hexdigest():
                os.remove(os.path.join(parent, name))
                removed.append(os.path.join(parent, name))
    return removed
