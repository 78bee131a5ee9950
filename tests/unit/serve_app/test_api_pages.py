"""No page of the service needs the internet, or tells it anything."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest
from asgi import Http

from serve_app.app import create_app
from serve_app.routers.live import STATIC

#: What a browser loads by itself, as opposed to a link that a person may follow.
_LOADED = re.compile(r"""(?:src|href)\s*=\s*["']([^"']+)["']|url\s*\(\s*["']?([^"')]+)""")


@pytest.fixture(scope="module")
def http() -> Http:
    return Http(create_app(body_limit_bytes=1_000_000))


def loaded(text: str) -> list[str]:
    return [one or other for one, other in _LOADED.findall(text)]


def test_the_page_of_the_api_loads_all_from_this_service(http: Http) -> None:
    page = http.get("/docs")

    assert page.status_code == 200
    assert len(loaded(page.text)) == 3
    for address in loaded(page.text):
        at = urljoin("http://service/docs", address)
        assert at.startswith("http://service/")
        assert http.get(at.removeprefix("http://service")).status_code == 200
    assert "http" not in re.sub(r"<!--.*?-->", "", page.text)
    assert '"validatorUrl": null' in page.text


def test_a_browser_is_told_to_load_nothing_from_elsewhere(http: Http) -> None:
    policy = http.get("/docs").headers["content-security-policy"]

    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "*" not in policy


def test_the_page_finds_the_description_of_the_api(http: Http) -> None:
    (address,) = re.findall(r"url: '([^']+)'", http.get("/docs").text)

    described = http.get(urljoin("/docs", address))
    assert described.json()["openapi"].startswith("3.")


def test_there_is_one_such_page(http: Http) -> None:
    answer = http.get("/redoc")

    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")


def test_the_live_page_loads_all_from_this_service() -> None:
    for file in STATIC.iterdir():
        for address in loaded(file.read_text()) if file.suffix in (".html", ".css") else ():
            assert not re.match(r"(https?:)?//", address), (file.name, address)
    assert "default-src 'none'" in (STATIC / "live.html").read_text()
