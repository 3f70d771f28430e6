"""Web pages that come in place of a file: Google Drive's question, its quota, and all others."""

import re
from html.parser import HTMLParser
from typing import Optional
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

#: how much of a page is read
PAGE_BYTES = 1 << 20
_QUOTA = re.compile(r'quota exceeded|too many users have viewed or downloaded|download quota', re.I)
_SIGN_IN = re.compile(r'accounts\.google\.com/|\bsign in\b|you need access', re.I)


def is_page(content_type: str, start: bytes) -> bool:
    """Whether an answer is a web page, by its Content-Type or, where that says something else, its first
    bytes."""
    return content_type.split(';')[0].strip().lower() in ('text/html', 'application/xhtml+xml') or bool(
        re.match(rb'\s*<(!doctype html|html)\b', start[:512], re.I)
    )


def confirmation(text: str, address: str) -> Optional[str]:
    """Where Google Drive's page "cannot scan this file for viruses" goes on.

    Args:
        text: the page.
        address: the page's own.

    Returns:
        The address of the file: that of the page's form with the form's values, or of the link that older
            pages have; None where
        the page has neither, or they lead to another site.
    """
    page = _Page(text)
    found = None
    if page.action is not None and 'confirm' in page.fields:
        parts = urlsplit(urljoin(address, page.action))
        query = dict(parse_qs(parts.query), **page.fields)
        found = parts._replace(query=urlencode(query, doseq=True), fragment='').geturl()
    elif page.link is not None:
        found = urljoin(address, page.link)
    return found if found and _site(found) == _site(address) else None


def known(text: str, status: int) -> Optional[str]:
    """What a page says that does not have to be guessed: that a quota is used up, or that one has to sign in;
    else None."""
    if _QUOTA.search(text):
        return (
            "Google Drive's quota of downloads for this file is used up; it is free again within a day. Until"
            ' then a browser that is signed in may be able to make a copy of it'
        )
    if status in (200, 206, 401, 403) and _SIGN_IN.search(text):
        return 'it wants somebody to sign in'
    return None


def describe(text: str) -> str:
    """What came in place of the file, in a few words."""
    title = ' '.join(_Page(text).title.split())[:100]
    return "it gives a web page{} in place of the file (a proxy's, perhaps)".format(
        f' titled {title!r}' if title else ''
    )


def _site(address):
    """Scheme and host that may follow each other: a host itself, and Google's among themselves."""
    parts = urlsplit(address)
    host = (parts.hostname or '').lower()
    google = parts.scheme == 'https' and re.search(r'(^|\.)(google|googleusercontent)\.com\Z', host)
    return 'google' if google else (parts.scheme, host, parts.port)


class _Page(HTMLParser):
    """The title, the form that downloads, and the link that did so on older pages."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title, self.action, self.fields, self.link = '', None, {}, None
        self._in_title = self._in_form = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = {key: value or '' for key, value in attrs}
        if tag == 'title':
            self._in_title = True
        elif tag == 'form' and 'confirm' not in self.fields:
            self._in_form, self.action, self.fields = True, given.get('action', ''), {}
        elif tag == 'input' and self._in_form and given.get('name'):
            self.fields[given['name']] = given.get('value', '')
        elif tag == 'a' and self.link is None and 'confirm=' in given.get('href', ''):
            self.link = given['href']

    def handle_endtag(self, tag):
        if tag == 'title':
            self._in_title = False
        elif tag == 'form':
            self._in_form = False

    def handle_data(self, data):
        if self._in_title:
            self.title += data

    def error(self, message):  # Python 3.9 and older call it where a page is past reading
        pass
