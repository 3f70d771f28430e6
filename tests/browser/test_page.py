"""The report's page in Chromium: requests, errors, sorting, enlarging, printing and accessibility.

Screenshots are kept in SCREENSHOTS, if that names a folder.
"""

import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip('playwright', reason='playwright is not installed; .ci/run browser installs it')
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
PYTHON = os.environ.get('CENTERNET_MODERN_PYTHON', sys.executable)
PAGES = ('one', 'two', 'coco')

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium; install Debian's package chromium"
)


def centernet(*words):
    subprocess.run([PYTHON, '-m', 'centernet', *map(str, words)], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope='session')
def pages(tmp_path_factory):
    """Reports: of the sample, of two evaluations of it, and of 80 classes with pictures of COCO's size."""
    folder = tmp_path_factory.mktemp('pages')
    for name, options in (('first', []), ('second', ['--flip-test', '--keep-res'])):
        centernet('eval-pth', '--device', 'cpu', '--no-progress', '--output', folder / name, *options)
    centernet('report', folder / 'first', '--output', folder / 'one')
    centernet('report', folder / 'first', folder / 'second', '--output', folder / 'two')
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'coco_sized.py')
    subprocess.run([PYTHON, script, str(folder / 'data')], check=True)
    centernet('report', folder / 'data' / 'run', '--output', folder / 'coco')
    return {name: folder / name / 'report.html' for name in PAGES}


@pytest.fixture(scope='session')
def chromium():
    with sync_playwright() as playwright:
        arguments = ['--no-sandbox'] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open a page; at the end it must have asked for nothing and complained of nothing."""
    contexts, problems = [], []

    def open_one(path, width=1280, scheme='light', **options):
        context = chromium.new_context(
            viewport={'width': width, 'height': 900}, color_scheme=scheme, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.on('console', lambda message: problems.append(message.text))
        page.on('pageerror', lambda error: problems.append(str(error)))
        page.on('request', lambda request: problems.append(request.url) if asks(request.url) else None)
        page.goto(path.as_uri())
        return page

    def asks(url):
        return not url.startswith(('file:', 'data:'))

    yield open_one
    for context in contexts:
        context.close()
    assert problems == []


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [1280, 400])
@pytest.mark.parametrize('name', PAGES)
def test_accessible_and_within_the_window(pages, open_page, name, width, scheme):
    page = open_page(pages[name], width, scheme, bypass_csp=True)  # axe-core is a script
    if os.environ.get('SCREENSHOTS'):
        page.screenshot(
            path=os.path.join(os.environ['SCREENSHOTS'], f'{name}-{scheme}-{width}.png'), full_page=True
        )
    assert page.evaluate('document.documentElement.scrollWidth') == width
    page.evaluate('for (const item of document.querySelectorAll("details")) item.open = true')
    found = Axe().run(page).response['violations']
    assert [(item['id'], item['nodes'][0]['html'][:200]) for item in found] == []


@pytest.mark.parametrize('name', PAGES)
def test_sorting(pages, open_page, name):
    page = open_page(pages[name])
    table = page.locator('#classes table')
    head = table.locator('th:has(button:text-is("objects"))')
    names = table.locator('tbody th').all_inner_texts()

    def numbers():
        return [int(text) for text in table.locator('tbody td:nth-child(2)').all_inner_texts()]

    assert head.get_attribute('aria-sort') is None
    head.locator('button').click()
    assert head.get_attribute('aria-sort') == 'descending' and numbers() == sorted(numbers(), reverse=True)
    head.locator('button').press('Enter')
    assert head.get_attribute('aria-sort') == 'ascending' and numbers() == sorted(numbers())
    first = table.locator('th:has(button:text-is("class"))')
    first.locator('button').click()
    assert first.get_attribute('aria-sort') == 'ascending' and head.get_attribute('aria-sort') is None
    assert sorted(table.locator('tbody th').all_inner_texts()) == sorted(names)


def test_a_missing_metric_is_last(pages, open_page):
    page = open_page(pages['one'])
    button = page.locator('#classes button:text-is("large")')
    for _ in range(2):
        button.click()
        texts = page.locator('#classes tbody td:nth-child(10)').all_inner_texts()
        assert texts[2:] == ['n/a', 'n/a'] and 'n/a' not in texts[:2]


@pytest.mark.parametrize('name, views', [('one', 1), ('two', 2), ('coco', 1)])
def test_enlarging(pages, open_page, name, views):
    page = open_page(pages[name])
    button, viewer = page.locator('.enlarge').first, page.locator('#viewer')
    small = button.bounding_box()['width']
    assert not viewer.is_visible()
    button.focus()
    page.keyboard.press('Enter')
    assert viewer.is_visible() and viewer.locator('.picture').count() == views
    assert viewer.locator('.picture').first.bounding_box()['width'] > 1.5 * small
    if os.environ.get('SCREENSHOTS'):
        page.screenshot(path=os.path.join(os.environ['SCREENSHOTS'], f'{name}-enlarged.png'))
    page.keyboard.press('Escape')
    assert not viewer.is_visible()
    assert page.evaluate('document.activeElement.className') == 'enlarge'
    button.click()
    viewer.locator('.close').click()
    assert not viewer.is_visible()


def test_pictures_are_drawn(pages, open_page):
    """The picture of the sample's first page is not empty: many colours in its middle."""
    page = open_page(pages['one'])
    shot = page.locator('.picture').first.screenshot(type='png')
    assert len(shot) > 20_000


def test_printing_shows_everything(pages, open_page, tmp_path):
    page = open_page(pages['coco'])
    assert page.locator('details[open]').count() == 0
    page.pdf(path=str(tmp_path / 'report.pdf'), format='A4')
    assert page.locator('details:not([open])').count() == 0
    assert (tmp_path / 'report.pdf').stat().st_size > 100_000


def test_without_scripts(pages, open_page):
    page = open_page(pages['one'], java_script_enabled=False)
    assert page.locator('.picture').count() == 24 and page.locator('#metrics tbody tr').count() == 12
