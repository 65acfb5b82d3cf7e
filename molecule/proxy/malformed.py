"""Sends requests that make no sense, from a seeded generator, over kept connections, and prints what was answered.

Runs on the host, where each connection has an address of its own on loopback, and so a limit of its own.
Usage: malformed.py SEED NUMBER SECONDS, with the JSON of {index, team, root} on stdin, the last two being X-Devpi-Auth.
"""

from __future__ import annotations

import base64
import collections
import http.client
import json
import random
import socket
import ssl
import sys
import threading
import time

NAME = "packages.example.com"
CONNECTIONS = 32
# Writers wait for one another, and on a busy machine for longer.
PATIENCE = 60
ODD = [
    *(
        "%",
        "%zz",
        "%00",
        "%0a",
        "%0d%0aX:1",
        "%ff",
        "%c0%af",
        "%e2%28%a1",
        "%2e%2e%2f",
        "..%2f",
        "..",
        "/../",
        "//",
        "%25%32%66",
    ),
    *(
        "\xff\xfe",
        "\u00e9",
        "\x01",
        "\x7f",
        "\\",
        "{}",
        "${x}",
        "'",
        '"',
        "<a>",
        "|",
        ";",
        "%u0041",
        "?",
        "??a=%",
        "#x",
        "+",
        "++",
        "*",
    ),
    *("A" * 300, "A" * 9000, "%41" * 200, "-tmp", "@", ":", "~", " ", "\t", "a b"),
]
METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "MKCOL",
    "get",
    "G\x00T",
    "",
    "A" * 200,
]
JUNK = [
    "null",
    "[]",
    "{}",
    "1e999",
    '"x"',
    "{",
    "[" * 2000,
    '{"a":' * 500,
    "\xff\xfe",
    '{"password": 7}',
    '{"bases": {"a": 1}}',
]
JUNK += [
    '{"user": null, "password": []}',
    '{"user": "team", "password": {"a": 1}}',
    '["bases+=\\u0000"]',
    '["x"]',
    "[1]",
]
JUNK += [
    '{"acl_upload": 3}',
    '{"type": "none"}',
    '{"mirror_url": []}',
    '{"name": "../x", "version": "\\u0000", "targetindex": 5}',
]


class Generator:
    """Makes one request after the other.

    :param index: the only index that they are about.
    """

    def __init__(self, seed: str, index: str, team: str, root: str) -> None:
        self.random = random.Random(seed)  # noqa: S311 - nothing secret
        self.index = index
        self.team = team
        self.root = root
        self.kinds = [self.line, self.path, self.header, self.authorisation, self.body, self.multipart, self.length]
        user = index.split("/")[1]
        self.paths = [
            "/",
            "/+api",
            "/+login",
            "/+status",
            "/+changelog/1",
            "/+search?query=x",
            "/+authcheck",
            f"/{user}",
        ]
        self.paths += [
            "/nobody",
            "/nobody/none",
            "/nobody/none/+simple/x/",
            "/+static/x",
            "/+static-1/style.css",
            index,
        ]
        self.paths += [
            index + rest for rest in ("/", "/+simple/", "/+simple/x/", "/+f/aaa/bbbbbbbbbbbbb/x-1.zip", "/x")
        ]
        self.paths += [index + rest for rest in ("/x/1.0", "/x/1.0/+doc/index.html", "/+e/x", "/x/1.0/+toxresults")]

    def __call__(self) -> tuple[str, str, bytes, bool]:
        """Return its kind, what it is about, its bytes, and whether nobody waits for the answer."""
        kind = self.random.choice(self.kinds)
        about, request, abandoned = kind()
        return kind.__name__, about, request.encode("latin-1", "replace"), abandoned

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def noise(self, most: int) -> str:
        return self.random.randbytes(self.random.randint(1, most)).decode("latin-1")

    def assembled(self, line: str, headers: list[str], body: str = "") -> str:
        return "\r\n".join([line, *headers]) + "\r\n\r\n" + body

    def line(self) -> tuple[str, str, bool]:
        path = self.random.choice(self.paths)
        line = self.random.choice(
            [
                self.noise(200).replace("\n", ""),
                f"GET {path}",
                f"GET {path} HTTP/9.9",
                f"GET {path} HTTP/1.1 x",
                f"GET  {path}  HTTP/1.1",
                f"GET {path} http/1.1",
                f"GET\t{path}\tHTTP/1.1",
                f"GET http://evil.example.com{path} HTTP/1.1",
                f"GET *{path} HTTP/1.1",
                f"{self.random.choice(METHODS)} {path} HTTP/1.1",
                f"GET {path} HTTP/1.",
                f"GET {path}\x00 HTTP/1.1",
                "PRI * HTTP/2.0",
                f"GET {path} HTTP/0.9",
                f"GET {path} HTTP/1.0",
                f"GET {path[1:] or 'x'} HTTP/1.1",
            ]
        )
        host = self.random.choice(
            [[f"Host: {NAME}"], [], [f"Host: {NAME}", "Host: x"], ["Host: " + self.random.choice(ODD)]]
        )
        return "the request line", self.assembled(line, host), "\r" in line

    def path(self) -> tuple[str, str, bool]:
        base = self.random.choice(self.paths)
        path = base
        for _dummy in range(self.random.randint(1, 3)):
            # behind the index's name, where there is one: other indexes are none of its business
            place = self.random.randint(len(self.index), len(path)) if path.startswith(self.index) else len(path)
            path = path[:place] + self.random.choice(ODD) + path[place:]
        accept = self.random.choice(["*/*", "text/html", "application/json", "application/vnd.pypi.simple.v1+json"])
        method = self.random.choice(["GET", "GET", "GET", "HEAD", "DELETE", "PUT", "POST", "PATCH", "OPTIONS"])
        return (
            f"{method} {base}",
            self.assembled(f"{method} {path} HTTP/1.1", [f"Host: {NAME}", f"Accept: {accept}", "Content-Length: 0"]),
            False,
        )

    def header(self) -> tuple[str, str, bool]:
        path = self.random.choice(self.paths)
        odd = self.random.choice(ODD)
        header = self.random.choice(
            [
                "no colon",
                ": no name",
                f"X{odd}: y",
                f"X-Odd: {odd}",
                f"User-Agent: {odd}",
                f"Accept: {odd}",
                f"Accept: {'*/*,' * 900}",
                "X-Huge: " + "a" * 9000,
                "X-Huge: " + "a" * 40000,
                "\r\n".join(f"X-{number}: y" for number in range(300)),
                f"Range: bytes={self.random.choice(['9-1', '--', '-', '0-0,' * 500 + '1-1', '99999999999999999999-'])}",
                f"If-Modified-Since: {odd}",
                f"If-None-Match: {odd}",
                f"Cookie: auth_tkt={odd}",
                "Cookie: " + "a=b; " * 1500,
                "Expect: 200-maybe",
                " folded: x",
                "Accept-Encoding: " + odd,
                f"Content-Type: {odd}",
                "Upgrade: x\r\nConnection: upgrade",
                f"X-Devpi-Absolute-Urls: {odd}",
                f"Referer: {odd}",
                "Accept: a/b;q=x, ;;;=",
                f"X-Null: {self.noise(30)}".replace("\n", ""),
            ]
        )
        return f"GET {path}", self.assembled(f"GET {path} HTTP/1.1", [f"Host: {NAME}", header]), False

    def authorisation(self) -> tuple[str, str, bool]:
        path = self.random.choice(self.paths)
        pair = self.random.choice(
            [
                "",
                ":",
                "team",
                "\xff\xfe:\x00",
                "nobody:" + "x" * 3000,
                ":x",
                "team:a:b",
                "a" * 5000,
                "root:.",
                "team:x.y.z",
            ]
        )
        if pair.startswith("team:"):
            # a password that is wrong is dear to check, and a token is not
            pair = "team:{}.{}.{}".format(*(self.noise(9) for _dummy in range(3))) if self.chance(0.1) else "nobody:a:b"
        encoded = base64.b64encode(pair.encode("latin-1")).decode()
        word = self.random.choice([encoded, encoded[:-1], encoded + "=", "!" * 20, "\xff\xfe", encoded + " x", ""])
        header = self.random.choice(
            [
                "Authorization: Basic ",
                "Authorization: ",
                "Authorization: Bearer ",
                "Authorization: BASIC  ",
                "X-Devpi-Auth: ",
            ]
        )
        return f"GET {path}", self.assembled(f"GET {path} HTTP/1.1", [f"Host: {NAME}", header + word]), False

    def body(self) -> tuple[str, str, bool]:
        method, path = self.random.choice(
            [
                ("POST", "/+login"),
                ("PUT", "/nobody"),
                ("PATCH", "/nobody"),
                ("PUT", self.index),
                ("PATCH", self.index),
                ("POST", self.index),
                ("POST", self.index + "/x/1.0"),
                ("PUT", self.index + "/x"),
                ("POST", self.index + "/+simple/x/refresh"),
            ]
        )
        body = self.random.choice([*JUNK, self.noise(300)])
        headers = [f"Host: {NAME}", f"Content-Length: {len(body)}", "Accept: application/json"]
        headers.append(
            self.random.choice(
                ["Content-Type: application/json", "Content-Type: text/plain", "Content-Type: x", "Content-Type: ;"]
            )
        )
        if path.startswith(self.index) and self.chance(0.5):
            headers.append(f"X-Devpi-Auth: {self.root}")
        return f"{method} {path}", self.assembled(f"{method} {path} HTTP/1.1", headers, body), False

    def multipart(self) -> tuple[str, str, bool]:
        """Make an upload of a person who may upload, with something wrong in it."""
        fields = {":action": "file_upload", "name": "x", "version": "1.0", "metadata_version": "2.1", "content": "x"}
        wrong = self.random.choice([*fields])
        if self.chance(0.3):
            del fields[wrong]
        else:
            fields[wrong] = self.random.choice(
                ["", "\x00", "..", "a/b", "\xff", "x" * 3000, "1.0.0.0.post.dev", "doc_upload", "submit", "é"]
            )
        names = [
            "x-1.0.zip",
            "",
            "../../x.zip",
            "x",
            "x-1.0-py3-none-any.whl",
            "\x00",
            'x-1.0.tar.gz"; a="',
            "y-2.0.zip",
            "\xff.zip",
            "x-1.0-1-2-3-4-5.whl",
        ]
        start = self.random.choice(["--mark\r\n"] * 6 + ["--other\r\n", "mark\r\n", "--mark\n"])
        parts = []
        for key, value in fields.items():
            file = f'; filename="{self.random.choice(names)}"' if key == "content" and self.chance(0.9) else ""
            parts.append(f'{start}Content-Disposition: form-data; name="{key}"{file}\r\n\r\n{value}\r\n')
        body = "".join(parts) + self.random.choice(["--mark--\r\n"] * 4 + ["--mark", "", self.noise(30)])
        if self.chance(0.2):
            body = body[: self.random.randint(0, len(body))]
        kind = self.random.choice(
            ["multipart/form-data; boundary=mark"] * 6
            + ["multipart/form-data", "multipart/mixed; boundary=", "x-www-form-urlencoded"]
        )
        headers = [
            f"Host: {NAME}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            f"X-Devpi-Auth: {self.team}",
        ]
        return f"POST {self.index}/", self.assembled(f"POST {self.index}/ HTTP/1.1", headers, body), False

    def length(self) -> tuple[str, str, bool]:
        path = self.random.choice([f"{self.index}/", "/+login", "/+api"])
        body = self.noise(100)
        abandoned = self.chance(0.5)
        wrong = [f"Content-Length: {len(body) + self.random.randint(1, 10**6)}"]
        if not abandoned:
            wrong = self.random.choice(
                [
                    ["Content-Length: -1"],
                    ["Content-Length: x"],
                    ["Content-Length: 99999999999999999999"],
                    ["Content-Length: "],
                    ["Content-Length: 1", f"Content-Length: {len(body)}"],
                    [f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"],
                    ["Transfer-Encoding: x"],
                    ["Transfer-Encoding: chunked, chunked"],
                    ["Content-Length: 0x10"],
                    ["Content-Length: 2147483648"],
                ]
            )
        return f"POST {path}", self.assembled(f"POST {path} HTTP/1.1", [f"Host: {NAME}", *wrong], body), abandoned


class Tally:
    """What was answered, of all connections."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sent = 0
        self.statuses: collections.Counter[str] = collections.Counter()
        self.failures: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, str] = {}

    def add(self, kind: str, about: str, request: bytes, status: str, text: bytes) -> None:
        with self.lock:
            self.sent += 1
            self.statuses[status] += 1
            if status.startswith("5"):
                key = f"{status} {kind}: {about}"
                self.failures[key] += 1
                self.examples.setdefault(key, repr(request[-300:]) + " -> " + repr(text[:200]))


def converse(number: int, make: Generator, count: int, until: float, tally: Tally) -> None:
    """Send so many requests from an address of this connection's own."""
    context = ssl._create_unverified_context()  # noqa: S323 - the tests of TLS are others
    connection: ssl.SSLSocket | None = None
    for _dummy in range(count):
        if time.monotonic() > until:
            break
        kind, about, request, abandoned = make()
        status, text, kept = "closed", b"", False
        try:
            if connection is None:
                plain = socket.create_connection(("127.0.0.1", 443), PATIENCE, (f"127.0.1.{number + 1}", 0))
                connection = context.wrap_socket(plain, server_hostname=NAME)
            connection.sendall(request)
            if abandoned:
                status = "abandoned"
            else:
                method = request.split(b" ", 1)[0].decode("latin-1")
                response = http.client.HTTPResponse(connection, method=method)
                response.begin()
                text = response.read()
                status = str(response.status)
                # with a length that is wrong, what comes next may be anything
                kept = not response.will_close and kind != "length"
        except TimeoutError:
            status = "nothing at all"
        except (OSError, http.client.HTTPException):
            pass
        tally.add(kind, about, request, status, text)
        if connection is not None and not kept:
            connection.close()
            connection = None


def main() -> None:
    seed, number, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    given = json.load(sys.stdin)
    tally = Tally()
    begun = time.monotonic()
    threads = []
    for each in range(CONNECTIONS):
        make = Generator(f"{seed}-{each}", given["index"], given["team"], given["root"])
        arguments = (each, make, -(-number // CONNECTIONS), begun + seconds, tally)
        threads.append(threading.Thread(target=converse, args=arguments))
        threads[-1].start()
    for thread in threads:
        thread.join()
    said = {"sent": tally.sent, "seconds": time.monotonic() - begun, "statuses": tally.statuses}
    print(json.dumps({**said, "failures": tally.failures, "examples": tally.examples}))


if __name__ == "__main__":
    main()
