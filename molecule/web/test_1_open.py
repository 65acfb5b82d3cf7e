"""The pages in a browser: what a person reads there, where the links lead, and what the browser complains of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By

from molecule.web.conftest import broken, click, console, links, screenshot, search, see_documentation, text

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

    from molecule.conftest import Layout
    from molecule.web.conftest import Seat

LOADED = "return performance.getEntriesByType('resource').map(entry => entry.name)"


def follow(browser: WebDriver, link: str) -> None:
    click(browser, browser.find_element(By.LINK_TEXT, link))


def test_certificate_is_verified(seat: Seat, layout: Layout) -> None:
    seat.distrust()
    try:
        with seat.browser() as stranger:
            stranger.get(layout.index)
            assert "NET::ERR_CERT_AUTHORITY_INVALID" in text(stranger)
            assert "tidytable" not in stranger.page_source
    finally:
        seat.trust()


def test_way_from_the_first_page_to_a_package(browser: WebDriver, layout: Layout) -> None:
    browser.get(f"{layout.url}/")
    follow(browser, "team/dev")
    assert browser.current_url.rstrip("/") == layout.index
    assert browser.title == "team/dev index"
    rows = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "table.packages tbody tr")]
    assert [row.split()[0] for row in rows] == ["coldstore-0.4", "sidenote-2.0", "tidytable-1.2"]
    assert "tidytable-1.2.tar.gz" in rows[2]
    assert "root/pypi" in text(browser)
    screenshot(browser, "index")
    follow(browser, "tidytable-1.2")
    assert browser.current_url.rstrip("/") == f"{layout.index}/tidytable/1.2"
    assert text(browser, "#summary") == "Prints rows as a table that lines up"
    screenshot(browser, "package")


def test_markdown_is_rendered(browser: WebDriver, layout: Layout) -> None:
    browser.get(f"{layout.index}/tidytable/1.2")
    assert text(browser, "#description h1") == "A table in a line"
    assert text(browser, "#description strong") == "any"
    assert 'print(table([["apples", 3], ["pears", 12]]))' in text(browser, "#description pre")
    cells = browser.find_elements(By.CSS_SELECTOR, "#description table td")
    assert [cell.text for cell in cells][:2] == ["gap", "spaces between two columns"]


def test_restructured_text_is_rendered(browser: WebDriver, layout: Layout) -> None:
    browser.get(f"{layout.index}/coldstore/0.4")
    assert "Keeps files that are seldom needed:" in text(browser, "#description")
    assert text(browser, "#description em") == "seldom"
    assert [item.text for item in browser.find_elements(By.CSS_SELECTOR, "#description li")] == [
        "on the slow disk",
        "with their sha256",
    ]


def test_description_runs_no_script(browser: WebDriver, layout: Layout) -> None:
    browser.get(f"{layout.index}/sidenote/2.0")
    assert "A note beside the text." in text(browser, "#description")
    assert "sidenote" in browser.title
    browser.find_element(By.XPATH, "//*[@id='description']//*[text()='more']").click()
    assert "sidenote" in browser.title


def test_link_of_the_metadata_runs_no_script(browser: WebDriver, layout: Layout) -> None:
    browser.get(f"{layout.index}/sidenote/2.0")
    found = browser.find_elements(By.CSS_SELECTOR, "a[href^='javascript:']")
    assert found
    for link in found:
        browser.execute_script("arguments[0].click()", link)
    assert "sidenote" in browser.title
    assert browser.current_url.rstrip("/") == f"{layout.index}/sidenote/2.0"
    blocked = console(browser)
    assert blocked
    assert [line for line in blocked if "Content Security Policy" not in line] == []


def test_documentation_runs_no_script(browser: WebDriver, documented: str) -> None:
    see_documentation(browser, documented)


@pytest.mark.parametrize(
    "path",
    ["/", "/team", "/team/dev", "/team/dev/tidytable", "/team/dev/tidytable/1.2", "/team/dev/+simple/tidytable/"],
)
def test_links_lead_somewhere_over_https(browser: WebDriver, layout: Layout, path: str) -> None:
    browser.get(layout.url + path)
    outside = [name for name in browser.execute_script(LOADED) if not name.startswith(f"{layout.url}/")]
    assert outside == []
    found = links(browser)
    assert [link for link in found if not link.startswith(f"{layout.url}/")] == []
    assert broken(browser, layout) == []


def test_search_box_tells_that_the_search_is_off(browser: WebDriver, layout: Layout) -> None:
    search(browser, layout, "tidytable")
    assert browser.current_url == f"{layout.url}/+search?query=tidytable"
    assert text(browser, "h1") == "The search is off"
    assert "devpi_server_search: true" in text(browser)
    screenshot(browser, "search")
    follow(browser, "the first page")
    assert browser.current_url == f"{layout.url}/"
    follow(browser, "team/dev")
