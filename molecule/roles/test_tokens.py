"""The token that the inventory declares: where it lies, and that twine publishes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host

TOKEN = "/etc/devpi/credentials/team.token"
WHEEL = """
import zipfile
with zipfile.ZipFile("/tmp/by_token-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("by_token.py", "")
    wheel.writestr("by_token-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: by-token\\nVersion: 1\\n")
    wheel.writestr("by_token-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr("by_token-1.dist-info/RECORD", "")
"""


def test_the_token_is_roots_alone(host: Host) -> None:
    file = host.file(TOKEN)
    assert (file.user, file.mode) == ("root", 0o600)
    assert file.content_string.startswith("devpi-")


def test_twine_publishes_with_it(host: Host) -> None:
    host.check_output("python3 -c %s", WHEEL)
    twine = "/opt/devpi/venv/bin/twine upload --non-interactive --username team --repository-url"
    said = host.run(f'TWINE_PASSWORD="$(cat {TOKEN})" {twine} http://127.0.0.1:3141/team/dev/ /tmp/by_token-*.whl')
    assert said.rc == 0, said.stdout + said.stderr
    assert "by_token-1-py3-none-any.whl" in host.check_output(
        'python3 -c "import urllib.request as u; '
        "print(u.urlopen('http://127.0.0.1:3141/team/dev/+simple/by-token/').read().decode())\""
    )
