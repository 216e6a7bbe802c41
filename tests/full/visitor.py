"""A browser without a screen or JavaScript: pages, cookies and forms over real HTTP."""

from __future__ import annotations

import http.cookiejar
import json
import urllib.parse
import urllib.request
from html.parser import HTMLParser


class FormReader(HTMLParser):
    """Collects the forms of a page: their action and the values they would send."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag == "form":
            self.forms.append((facts.get("action") or "", {}))
        elif tag == "input" and self.forms and facts.get("name") and facts.get("type") not in ("checkbox", "radio"):
            self.forms[-1][1][str(facts["name"])] = facts.get("value") or ""


class Visitor:
    def __init__(self, base: str) -> None:
        self.base = base
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))
        self.page = ""

    def visit(self, path: str) -> str:
        with self.opener.open(self.base + path, timeout=120) as response:
            self.page = response.read().decode()
        return self.page

    def submit(self, action: str, **values: str) -> str:
        """Send the first form of the page whose action ends so, as a click on its button would."""
        reader = FormReader()
        reader.feed(self.page)
        path, fields = next((path, fields) for path, fields in reader.forms if path.endswith(action))
        data = urllib.parse.urlencode(fields | values).encode()
        request = urllib.request.Request(self.base + path, data, headers={"Referer": self.base + path})
        with self.opener.open(request, timeout=120) as response:
            self.page = response.read().decode()
        return self.page

    def log_in(self, username: str, password: str) -> None:
        self.visit("/accounts/login/")
        self.submit("/accounts/login/", login=username, password=password)

    def post(self, path: str, said: dict) -> tuple[int, bytes]:
        """Post JSON as a program that has logged in does; return status and body."""
        token = next(cookie.value for cookie in self.cookies if cookie.name == "csrftoken")
        headers = {"Content-Type": "application/json", "X-CSRFToken": token, "Referer": self.base}
        request = urllib.request.Request(self.base + path, json.dumps(said).encode(), headers=headers)
        with self.opener.open(request, timeout=30) as response:
            return response.status, response.read()
