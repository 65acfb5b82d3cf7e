"""A private server in a browser: where a stranger is led, what a login opens, search included, what a logout closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from molecule.proxy.conftest import Runs
from molecule.web.conftest import broken, click, console, screenshot, search, see_documentation, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.remote.webdriver import WebDriver
    from testinfra.host import Host

    from molecule.conftest import Layout
    from molecule.proxy.conftest import Runs
from molecule.web.conftest import Seat

PAGE = "/team/dev/tidytable/1.2"


@pytest.fixture(scope="module", autouse=True)
def private(host: Host, published: None) -> None:
    # and has a search, of the team's own packages: the mirror is not to download the names of all projects
    users = [
        {"name": "team", "indexes": [{"name": "dev", "bases": ["root/pypi"]}]},
        {"name": "root", "indexes": [{"name": "pypi", "type": "mirror", "mirror_no_project_list": True}]},
    ]
    code, _changed, said = Runs(host)(devpi_private=True, devpi_server_search=True, devpi_users=users)
    assert code == 0, said


@pytest.fixture
def browser(seat: Seat) -> Iterator[WebDriver]:
    """Open a browser for every test, for none is to be logged in by another."""
    with seat.browser() as driver:
        yield driver


@pytest.fixture
def password(host: Host, layout: Layout) -> str:
    kept: str = host.file(f"/etc/devpi/credentials/{layout.user}").content_string
    return kept.strip()


def log_in(browser: WebDriver, user: str, password: str) -> None:
    browser.find_element(By.NAME, "username").send_keys(user)
    browser.find_element(By.NAME, "password").send_keys(password)
    click(browser, browser.find_element(By.NAME, "submit"))


@pytest.mark.parametrize("path", ["/", "/team/dev", PAGE, "/team/dev/+simple/tidytable/", "/+search?query=tidytable"])
def test_stranger_is_led_to_the_login(browser: WebDriver, layout: Layout, path: str) -> None:
    browser.get(layout.url + path)
    assert browser.current_url == f"{layout.url}/+login?goto_url={path}"
    assert browser.find_element(By.NAME, "password").get_property("type") == "password"
    assert "1.2" not in text(browser)
    screenshot(browser, "login")


def test_wrong_password_is_told(browser: WebDriver, layout: Layout) -> None:
    browser.get(layout.url + PAGE)
    log_in(browser, layout.user, "wrong")
    assert "Invalid credentials" in text(browser)
    assert [line for line in console(browser) if "401" not in line] == []
    browser.get(layout.url + PAGE)
    assert browser.current_url == f"{layout.url}/+login?goto_url={PAGE}"


def test_login_leads_to_the_page_and_logout_closes_it(browser: WebDriver, layout: Layout, password: str) -> None:
    browser.get(layout.url + PAGE)
    log_in(browser, layout.user, password)
    assert browser.current_url == layout.url + PAGE
    assert text(browser, "#description h1") == "A table in a line"
    assert broken(browser, layout) == []
    [cookie] = browser.get_cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["secure"]) == ("auth_tkt", True, True)

    browser.get(f"{layout.url}/+logout")
    click(browser, browser.find_element(By.NAME, "submit"))
    assert browser.get_cookies() == []
    browser.get(layout.url + PAGE)
    assert browser.current_url == f"{layout.url}/+login?goto_url={PAGE}"


def test_search_box_finds_packages_where_the_search_is_on(browser: WebDriver, layout: Layout, password: str) -> None:
    browser.get(layout.index)
    log_in(browser, layout.user, password)

    def found(driver: WebDriver) -> list[str]:
        search(driver, layout, "tidytable")
        return [result.text for result in driver.find_elements(By.CSS_SELECTOR, ".searchresults dt.packagename")]

    # devpi-server builds its index by the way
    assert WebDriverWait(browser, 30).until(found) == ["tidytable-1.2"]


def test_documentation_is_behind_the_login_and_runs_no_script(
    browser: WebDriver, layout: Layout, password: str, documented: str
) -> None:
    browser.get(f"{documented}/+doc/index.html")
    assert browser.current_url.startswith(f"{layout.url}/+login?goto_url=")
    log_in(browser, layout.user, password)
    see_documentation(browser, documented)


def test_login_leads_nowhere_else(browser: WebDriver, layout: Layout, password: str) -> None:
    browser.get(f"{layout.url}/+login?goto_url=https://elsewhere.example.com/")
    log_in(browser, layout.user, password)
    assert browser.current_url == f"{layout.url}/"
