"""Draw docs/report.png, parts of the sample's report: ``python tools/report_picture.py REPORT.html``.

Needs playwright (requirements/browser.txt), Pillow and Chromium.
"""

import io
import os
import shutil
import sys

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, GAP, COLOURS = 1000, 16, 256
#: parts of the page, by their selectors, and how many pixels of each from its top
PARTS = (('header', 200), ('#curves', 510), ('#errors', 395), ('#images', 480))
TARGET = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'docs', 'report.png')


def main(path: str) -> None:
    with sync_playwright() as playwright:
        arguments = ['--no-sandbox'] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=arguments)
        page = browser.new_page(viewport={'width': WIDTH, 'height': 900})
        page.goto('file://' + os.path.abspath(path))
        parts = []
        for selector, height in PARTS:
            shot = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert('RGB')
            parts.append(shot.crop((0, 0, shot.width, min(height, shot.height))))
        browser.close()
    picture = Image.new('RGB', (WIDTH, sum(part.height + GAP for part in parts) + GAP), 'white')
    top = GAP
    for part in parts:
        picture.paste(part, ((WIDTH - part.width) // 2, top))
        top += part.height + GAP
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    print(TARGET, os.path.getsize(TARGET))


if __name__ == '__main__':
    main(sys.argv[1])
