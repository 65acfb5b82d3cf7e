"""A person's Chromium on the host, and the packages that this person is to see."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.wait import WebDriverWait

from molecule.proxy.conftest import Outside, address, basic, form, packed, send

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.remote.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement
    from testinfra.host import Host

    from molecule.conftest import Layout, Shell

SCREENSHOTS = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"], ".cache", "screenshots")
PORT = 9515
FETCH = """
const [links, done] = arguments;
const ask = link => fetch(link).then(said => [link, said.status, said.url], error => [link, 0, String(error)]);
Promise.all(links.map(ask)).then(done);
"""
WIDTH, HEIGHT = 1000, 780

MARKDOWN = """\
Metadata-Version: 2.1
Name: tidytable
Version: 1.2
Summary: Prints rows as a table that lines up
Author: Sam Example
License: MIT
Requires-Python: >=3.8
Description-Content-Type: text/markdown

# A table in a line

`tidytable` prints rows as a table that lines up, in **any** terminal.

```python
from tidytable import table

print(table([["apples", 3], ["pears", 12]]))
```

| option | meaning |
| --- | --- |
| `gap` | spaces between two columns |
| `head` | whether the first row is a heading |
"""
RESTRUCTURED = """\
Metadata-Version: 2.1
Name: coldstore
Version: 0.4
Summary: Keeps what is seldom needed
Description-Content-Type: text/x-rst

Cold store
==========

Keeps files that are *seldom* needed:

- on the slow disk
- with their ``sha256``
"""
HOSTILE = """\
Metadata-Version: 2.1
Name: sidenote
Version: 2.0
Summary: Notes beside the text
Home-page: javascript:document.title='taken over'
Project-URL: Elsewhere, javascript:document.title='taken over'
Description-Content-Type: text/markdown

A note <b id="note">beside</b> the text.

<script>document.title = "taken over"</script>
<img src="/favicon.ico" onerror="document.title = 'taken over'">
<a href="javascript:document.title = 'taken over'">more</a>
"""
DOCUMENTATION = {
    "index.html": """<!doctype html>
<title>As written</title>
<link rel="stylesheet" href="style.css">
<h1>How to take notes</h1>
<p style="height: 700px">Long text</p>
<a href="more.html">more</a>
<img src="x" onerror="document.title = 'taken over'">
<script>document.title = "taken over"</script>
<script src="take.js"></script>
""",
    "more.html": "<!doctype html><title>More</title><h1>More notes</h1>",
    "style.css": "h1 { color: rgb(1, 2, 3) }",
    "take.js": "document.title = 'taken over'",
}
# A wheel and a source distribution with the METADATA of standard input, and no content
MAKE = """
import io, sys, tarfile, zipfile
text = sys.stdin.read()
name, version = (line.split(": ")[1] for line in text.splitlines()[1:3])
info = f"{name}-{version}.dist-info"
with zipfile.ZipFile(f"{name}-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{info}/METADATA", text)
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
    wheel.writestr(f"{info}/RECORD", "")
with tarfile.open(f"{name}-{version}.tar.gz", "w:gz") as sdist:
    for file, content in (("PKG-INFO", text.encode()), ("pyproject.toml", b"")):
        member = tarfile.TarInfo(f"{name}-{version}/{file}")
        member.size = len(content)
        sdist.addfile(member, io.BytesIO(content))
"""


@dataclass(frozen=True)
class Seat:
    """The account visitor, in front of a chromedriver."""

    host: Host
    address: str

    def trust(self) -> None:
        """Have the browsers that are opened from now on trust the host's own CA."""
        self._certutil("-A -n devpi -t C,, -i /etc/ssl/devpi/ca.pem")

    def distrust(self) -> None:
        """Have them trust what Chromium brings along, and that alone."""
        self._certutil("-D -n devpi")

    def _certutil(self, arguments: str) -> None:
        database = "/home/visitor/.pki/nssdb"
        self.host.check_output(
            f"runuser -u visitor -- sh -euc 'mkdir -p {database}; "
            f"test -e {database}/cert9.db || certutil -d sql:{database} -N --empty-password; "
            f"certutil -d sql:{database} {arguments}'"
        )

    @contextmanager
    def browser(self) -> Iterator[WebDriver]:
        """Open a browser that knows nothing of those before it."""
        options = webdriver.ChromeOptions()
        options.add_argument("--headless=new")
        options.add_argument("--hide-scrollbars")
        # Docker's /dev/shm is small
        options.add_argument("--disable-dev-shm-usage")
        options.set_capability("goog:loggingPrefs", {"browser": "WARNING"})
        # the test machine's proxy does not know the containers
        driver = webdriver.Remote(ChromeRemoteConnection(self.address, ignore_proxy=True), options=options)
        try:
            driver.set_page_load_timeout(30)
            outer = driver.get_window_size()
            inner = driver.execute_script("return [innerWidth, innerHeight]")
            driver.set_window_size(WIDTH + outer["width"] - inner[0], HEIGHT + outer["height"] - inner[1])
            yield driver
        finally:
            driver.quit()


def console(browser: WebDriver) -> list[str]:
    """Return what the pages since the last call have left in the browser's console."""
    entries = browser.execute(Command.GET_LOG, {"type": "browser"})["value"]
    return [f"{entry['level']}: {entry['message']}" for entry in entries]


def text(browser: WebDriver, selector: str = "body") -> str:
    """Return what is to be read there."""
    told: str = browser.find_element(By.CSS_SELECTOR, selector).text
    return told


def click(browser: WebDriver, element: WebElement) -> None:
    """Click on something that leads to another page, and wait for that."""
    element.click()
    WebDriverWait(browser, 30).until(staleness_of(element))


def search(browser: WebDriver, layout: Layout, word: str) -> None:
    """Use the search box of the index's page."""
    browser.get(layout.index)
    browser.find_element(By.NAME, "query").send_keys(word)
    click(browser, browser.find_element(By.CSS_SELECTOR, "#search [type=submit]"))


def links(browser: WebDriver) -> list[str]:
    """Return where the page's links lead."""
    found = browser.find_elements(By.CSS_SELECTOR, "a[href]")
    return sorted({str(link.get_property("href")).split("#", maxsplit=1)[0] for link in found})


def broken(browser: WebDriver, layout: Layout) -> list[list[object]]:
    """Return those of the page's links into the server that fail or end outside it or at the login: status and end."""
    ends, login = f"{layout.url}/", f"{layout.url}/+login"
    # the status is closed to all but devpi_proxy_networks
    asked = [link for link in links(browser) if link.startswith(ends) and link != f"{layout.url}/+status"]
    assert asked
    said: list[list[object]] = browser.execute_async_script(FETCH, asked)
    return [each for each in said if each[1] != 200 or not str(each[2]).startswith(ends) or login in str(each[2])]


def screenshot(browser: WebDriver, name: str) -> None:
    """Keep what is in the browser's window."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    (SCREENSHOTS / f"{name}.png").write_bytes(browser.get_screenshot_as_png())


def see_documentation(browser: WebDriver, release: str) -> None:
    """Look at the documentation by itself and in devpi-web's frame: with its style, and without its scripts."""
    browser.get(f"{release}/+doc/index.html")
    assert text(browser, "h1") == "How to take notes"
    assert browser.title == "As written"
    assert browser.find_element(By.TAG_NAME, "h1").value_of_css_property("color") in (
        "rgb(1, 2, 3)",
        "rgba(1, 2, 3, 1)",
    )
    browser.get(f"{release}/+d/index.html")
    frame = browser.find_element(By.ID, "devpi-doc")
    # devpi-web's own script makes room for all of it, and takes over its title
    WebDriverWait(browser, 10).until(lambda _driver: frame.size["height"] > 600 and browser.title == "As written")
    browser.switch_to.frame(frame)
    assert text(browser, "h1") == "How to take notes"
    browser.switch_to.default_content()
    told = [line for line in console(browser) if "sandboxed" not in line and "Content Security Policy" not in line]
    # the picture that is not there
    assert [line for line in told if "404" not in line] == []


def answers(address: tuple[str, int]) -> bool:
    """Return whether somebody listens there."""
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def seat(host: Host) -> Iterator[Seat]:
    container = host.backend.get_hostname()
    ip = address(container)
    account = ["--user", "visitor", "--env", "HOME=/home/visitor"]
    # the tests are on another machine than the browser
    driver = ["chromedriver", f"--port={PORT}", "--allowed-ips="]
    subprocess.run(["docker", "exec", "--detach", *account, container, *driver], check=True)
    end = time.monotonic() + 30
    while not answers((ip, PORT)):
        assert time.monotonic() < end, "chromedriver does not listen"
        time.sleep(0.1)
    seat = Seat(host, f"http://{ip}:{PORT}")
    seat.trust()
    yield seat
    host.check_output("pkill -u visitor chromedriver; while pgrep -u visitor chromedriver; do sleep 0.1; done")


@pytest.fixture(scope="module")
def browser(seat: Seat) -> Iterator[WebDriver]:
    with seat.browser() as driver:
        yield driver


@pytest.fixture(scope="module", autouse=True)
def published(shell: Shell, layout: Layout) -> None:
    """Publish three packages with twine, each with a description of its own kind."""
    texts = (MARKDOWN, RESTRUCTURED, HOSTILE)
    make = "; ".join(f"printf %s {shlex.quote(text)} | python3 -c '{MAKE}'" for text in texts)
    said = shell(
        # what is published already may come again as it was, and not in another form
        f"test -d made || (mkdir made; cd made; {make}); cd made; "
        f"TWINE_PASSWORD=$FLIT_PASSWORD {layout.venv}/bin/twine upload --non-interactive -r {layout.section} *"
    )
    assert said.rc == 0, said.stdout + said.stderr


@pytest.fixture(scope="module")
def documented(host: Host, layout: Layout, published: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Upload documentation that has scripts, and return the URL of its release."""
    ca = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.write_text(host.file(layout.ca).content_string)
    outside = Outside(address(host.backend.get_hostname()), ca)
    login = basic(layout.user, host.check_output(f"cat /etc/devpi/credentials/{layout.user}"))
    fields = {":action": "doc_upload", "name": "sidenote", "version": "2.0"}
    kind, body = form(fields, "sidenote-2.0.doc.zip", packed(DOCUMENTATION))
    said = send(outside, f"/{layout.user}/dev/", kind, login, body=body)
    assert said.status == 200, said.text
    return f"{layout.index}/sidenote/2.0"


@pytest.fixture(autouse=True)
def quiet(browser: WebDriver) -> Iterator[None]:
    """See to it that the browser has nothing to complain of: no error, no mixed content."""
    yield
    assert console(browser) == []
