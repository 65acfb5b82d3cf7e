"""Listens at a devpi-server's port, answers as one with nothing in it, and notes what it is sent in the file heard."""

from __future__ import annotations

import http.server
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with Path(__file__).with_name("heard").open("ab") as heard:
            heard.write(self.requestline.encode() + bytes(self.headers) + body + b"\n")
        self.send_response(200)
        self.send_header("X-Devpi-Server-Version", "6.20.3")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"status": 200, "type": "userconfig", "result": {}}')


for method in ("GET", "POST", "PUT", "PATCH"):
    setattr(Handler, f"do_{method}", Handler.answer)
http.server.HTTPServer(("127.0.0.1", 3141), Handler).serve_forever()
