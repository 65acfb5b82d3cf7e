"""The documentation site in a browser: every page that links lead to from the front page, on a telephone's screen."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.remote.webdriver import WebDriver

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "docs"
HTML = CACHE / "html"
COLLECTION = "wheelhouse.devpi."
CONTAINER = "devpi-docs"
SITE = "http://127.0.0.1:8000/"
NARROW, WIDE = (400, 800), (1100, 700)
# What a page says of itself, collected in the browser. What lies in a box that scrolls by itself may be of any width.
LOOK = """
const inBox = element => {
  for (let box = element.parentElement; box && box !== document.body; box = box.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(box).overflowX)) return true;
  return false;
};
const name = element => `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 40)}`;
return {
  width: innerWidth,
  // the theme hides what sticks out of the body, so the document alone would never be too wide
  content: Math.max(document.scrollingElement.scrollWidth, document.body.scrollWidth),
  outside: [...document.querySelectorAll('body *')]
    .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5 && !inBox(element)).map(name),
  links: [...document.querySelectorAll('a[href]')].map(link => link.href),
  anchors: [...document.querySelectorAll('[id], a[name]')].map(element => element.id || element.name),
  broken_images: [...document.images].filter(image => !image.naturalWidth).map(image => image.src),
  loaded: performance.getEntriesByType('resource').map(entry => entry.name),
  title: document.title,
  text: document.documentElement.textContent,
};
"""


@dataclass(frozen=True)
class Page:
    """What the browser found at one address."""

    width: int
    content: int
    outside: list[str]
    links: list[str]
    anchors: list[str]
    broken_images: list[str]
    loaded: list[str]
    title: str
    text: str

    @property
    def fits(self) -> bool:
        """Whether nothing of the page is wider than the window."""
        return self.content <= self.width and not self.outside


def documented(kind: str) -> dict[str, Any]:
    """Return what Ansible knows of the collection's modules or roles, by their names."""
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--type", kind, "--json"]
    # where script/_setup links to the checkout, unless the caller names another place
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(Path(sys.prefix, "collections")), **os.environ}
    names = json.loads(run(*command, "--list", "wheelhouse.devpi", env=environment))
    return json.loads(run(*command, *names, env=environment))


def run(*command: str, env: dict[str, str] | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.strip()


def resize(browser: WebDriver, size: tuple[int, int]) -> None:
    """Give the pages a window of this size; Chromium's own would not become as narrow as a telephone."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute("executeCdpCommand", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})
    assert browser.execute_script("return [innerWidth, innerHeight]") == list(size)


def answers(address: tuple[str, int]) -> bool:
    """Return whether somebody listens there."""
    try:
        socket.create_connection(address, timeout=5).close()
    except OSError:
        return False
    return True


def inside(links: list[str]) -> list[str]:
    """Return the links that lead to the site itself."""
    return [link for link in links if link.startswith(SITE)]


def file_of(url: str) -> str:
    """Return the file of the site that a URL leads to."""
    return unquote(urlsplit(url).path).lstrip("/")


def look(browser: WebDriver, url: str) -> Page:
    """Open a page."""
    browser.get(url)
    return Page(**browser.execute_script(LOOK))


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    """Start Chromium in a container, where the site is served to it alone."""
    # one that a killed run left
    subprocess.run(["docker", "rm", "--force", CONTAINER], check=False, capture_output=True)
    site = f"{HTML}:/site:ro"
    serve = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "/site", "8000"]
    run("docker", "run", "--rm", "--detach", "--name", CONTAINER, "--volume", site, "devpi-test:trixie-browser", *serve)
    try:
        account = ["--user", "visitor", "--env", "HOME=/home/visitor"]
        # the tests are on another machine than the browser
        run("docker", "exec", "--detach", *account, CONTAINER, "chromedriver", "--port=9515", "--allowed-ips=")
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = run("docker", "inspect", "--format", form, CONTAINER)
        end = time.monotonic() + 30
        while not answers((address, 9515)):
            assert time.monotonic() < end, "chromedriver does not listen"
            time.sleep(0.1)
        options = webdriver.ChromeOptions()
        options.add_argument("--headless=new")
        # as on a telephone
        options.add_argument("--hide-scrollbars")
        # the container has no more rights than any, and Chromium's own sandbox would need some
        options.add_argument("--no-sandbox")
        options.add_argument("--disable-dev-shm-usage")
        # the test machine's proxy does not know the containers
        connection = ChromeRemoteConnection(f"http://{address}:9515", ignore_proxy=True)
        driver = webdriver.Remote(connection, options=options)
        driver.set_page_load_timeout(30)
        resize(driver, NARROW)
        yield driver
        driver.quit()
    finally:
        run("docker", "rm", "--force", CONTAINER)


@pytest.fixture(scope="module")
def pages(browser: WebDriver) -> dict[str, Page]:
    """Visit the front page, and every page that a link leads to."""
    found: dict[str, Page] = {}
    waiting = [f"{SITE}index.html"]
    for url in waiting:
        name = file_of(url)
        if name not in found and name.endswith(".html") and (HTML / name).is_file():
            found[name] = look(browser, url.partition("#")[0])
            waiting += inside(found[name].links)
    return found


def test_links_lead_to_every_page(pages: dict[str, Page]) -> None:
    written = {str(path.relative_to(HTML)) for path in HTML.rglob("*.html")}
    # one comes to it by the search box
    assert set(pages) == written - {"search.html"}


def test_no_link_is_dead(pages: dict[str, Page]) -> None:
    dead = []
    for name, page in pages.items():
        for link in inside(page.links):
            target, anchor = file_of(link), unquote(urlsplit(link).fragment)
            if not (HTML / target).is_file() or (anchor and anchor not in pages[target].anchors):
                dead.append(f"{name}: {link}")
    assert dead == []


def test_pages_need_no_other_server(pages: dict[str, Page]) -> None:
    elsewhere = {name: [url for url in page.loaded if url not in inside(page.loaded)] for name, page in pages.items()}
    assert {name: urls for name, urls in elsewhere.items() if urls} == {}
    assert all(page.loaded for page in pages.values())


def test_every_picture_is_shown(pages: dict[str, Page]) -> None:
    assert {name: page.broken_images for name, page in pages.items() if page.broken_images} == {}


@pytest.mark.parametrize("words", ["malformed", "errors parsing the documentation"])
def test_no_documentation_is_malformed(pages: dict[str, Page], words: str) -> None:
    assert [name for name, page in pages.items() if words in page.text.lower()] == []


def test_no_page_is_wider_than_a_telephone(pages: dict[str, Page]) -> None:
    assert {page.width for page in pages.values()} == {NARROW[0]}
    assert {name: (page.content, page.outside) for name, page in pages.items() if not page.fits} == {}


def test_every_module_has_a_page_with_its_options(pages: dict[str, Page]) -> None:
    modules = documented("module")
    assert f"{COLLECTION}devpi_users" in modules
    for name, module in modules.items():
        page = pages[f"collection/{name.removeprefix(COLLECTION)}_module.html"]
        assert name in page.title
        assert {f"parameter-{option}" for option in module["doc"]["options"]} <= set(page.anchors)


def test_every_role_has_a_page_with_its_variables(pages: dict[str, Page]) -> None:
    roles = documented("role")
    assert {name.removeprefix(COLLECTION) for name in roles} == {path.name for path in (ROOT / "roles").iterdir()}
    for name, role in roles.items():
        page = pages[f"collection/{name.removeprefix(COLLECTION)}_role.html"]
        assert name in page.title
        for entry, spec in role["entry_points"].items():
            assert {f"parameter-{entry}--{option}" for option in spec.get("options", {})} <= set(page.anchors)


def test_every_guide_has_a_page(pages: dict[str, Page]) -> None:
    guides = {path.stem for path in (ROOT / "docs" / "docsite" / "rst").glob("*.rst")}
    assert guides
    assert {f"collection/docsite/{guide}.html" for guide in guides} <= set(pages)


def test_a_person_finds_a_module_by_the_menu(browser: WebDriver) -> None:
    browser.get(f"{SITE}index.html")
    entry = browser.find_element(By.CSS_SELECTOR, ".wy-menu a[href$='devpi_token_module.html']")
    assert entry.text == "" or entry.rect["x"] < 0, "the menu is open"
    browser.find_element(By.CSS_SELECTOR, "[data-toggle='wy-nav-top']").click()
    WebDriverWait(browser, 10).until(lambda _driver: entry.rect["x"] >= 0)
    assert entry.text == "devpi_token"
    entry.click()
    WebDriverWait(browser, 10).until(lambda driver: "devpi_token module" in driver.title)


def test_a_person_finds_a_variable_by_the_search_box(browser: WebDriver) -> None:
    browser.get(f"{SITE}search.html?q=devpi_proxy_names")
    results = WebDriverWait(browser, 10).until(
        lambda driver: driver.find_elements(By.CSS_SELECTOR, "#search-results li a")
    )
    results[0].click()
    WebDriverWait(browser, 10).until(lambda driver: "search.html" not in driver.current_url)
    assert "devpi_proxy_names" in browser.find_element(By.TAG_NAME, "body").text


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("site-front", "index.html"),
        ("site-module", "collection/devpi_index_module.html#parameters"),
        ("site-guide", "collection/docsite/first_index.html"),
    ],
)
def test_a_wide_window_shows_the_menu_beside_the_page(browser: WebDriver, name: str, page: str) -> None:
    resize(browser, WIDE)
    try:
        assert look(browser, SITE + page).fits
        assert browser.find_element(By.CSS_SELECTOR, ".wy-menu").rect["x"] >= 0
        browser.save_screenshot(str(CACHE / f"{name}.png"))
    finally:
        resize(browser, NARROW)
