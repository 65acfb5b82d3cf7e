# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of devpi-server: nginx reaches the server through a socket in a directory that no other account can enter.

While a server restarts, any account of the host can take its port, and would receive the passwords that nginx passes
on. Only accounts that may write to the directory of a socket can take its path. The server believes what nginx says
about a request, such as its address, only at the socket, because at the port any account can claim it.
"""

import contextlib
import os
import socket

from devpi_server.main import Fatal
from devpi_server.middleware import OutsideURLMiddleware
from pluggy import HookimplMarker
from pyramid.events import ApplicationCreated
from waitress import create_server

hookimpl = HookimplMarker("devpiserver")

# In the environment of a request that came from nginx. No header can set it: theirs begin with HTTP_.
FROM_NGINX = "devpi_nginx_socket.from_nginx"
# What waitress is told of the port, and of the server that listens there alone
OF_THE_PORT = ("host", "port", "listen", "unix_socket", "unix_socket_perms")


@hookimpl
def devpiserver_add_parser_options(parser):
    """Add the option.

    :param parser: of devpi-server's options.
    """
    group = parser.addgroup("options of the socket for nginx")
    group.addoption(
        "--nginx-socket",
        metavar="DIRECTORY",
        default=None,
        help="listen at DIRECTORY/PORT.sock too, and believe there what nginx says of a request",
    )


@hookimpl
def devpiserver_pyramid_configure(config, pyramid_config):
    """Have the socket opened once there is an application, if the option is given.

    :param config: of the server.
    :param pyramid_config: of its web application.
    """
    directory = getattr(config.args, "nginx_socket", None)
    if directory:
        path = os.path.join(directory, f"{config.args.port}.sock")
        pyramid_config.add_subscriber(lambda event: listen(path, event.app), ApplicationCreated)


def listen(path, application):
    """Listen at a path, as one of the threads that the server starts and ends.

    :param path: of the socket.
    :param application: the web application that answers.
    """
    xom = application.registry["xom"]
    xom.thread_pool.register(
        NginxSocket(path, OutsideURLMiddleware(application, xom), xom.config.waitress_info["kwargs"])
    )


class NginxSocket:
    """What listens at the socket."""

    def __init__(self, path, application, options):
        self._application = application
        self._options = {name: value for name, value in options.items() if name not in OF_THE_PORT}
        self._socket = opened(path)

    def thread_run(self):
        """Answer requests until the process ends."""
        create_server(self._answer, sockets=[self._socket], **self._options).run()

    def _answer(self, environment, start_response):
        environment[FROM_NGINX] = True
        return self._application(environment, start_response)


def opened(path):
    """Return a socket at the path, in the place of one that a server left there which has ended."""
    if is_answered(path):
        raise Fatal(f"another server answers at {path} (--nginx-socket); stop that one")
    new = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        new.bind(path)
        os.chmod(path, 0o660)
    except OSError as error:
        raise Fatal(f"{path} (--nginx-socket) cannot be made: {error.strerror}") from None
    return new


def is_answered(path):
    """Return whether somebody listens at the path."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as asked:
        try:
            asked.connect(path)
        except OSError:
            return False
        return True
