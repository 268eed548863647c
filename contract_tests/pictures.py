"""The pictures that the guides show, taken of the pages by a browser: `make pictures`.

The report is the one that `make report` has written last, `.data/report.html`.
"""

import argparse
import base64
import sys
import tempfile
from pathlib import Path

import pytest

from contract_tests.harness import browser
from contract_tests.harness.services import ROOT

# The page, the first and the last of it that is shown, and the picture.
PICTURES = (
    (
        ".data/report.html",
        "body",
        "[data-clause='HTTP-08']",
        "contract_tests/report/screenshot.png",
    ),
    (
        "benchmarks/results/full.html",
        "#claims h3",
        "#claims article:nth-of-type(4)",
        "benchmarks/results/claims.png",
    ),
)
# The rectangle from the top of the first to the bottom of the last, in pixels.
RECTANGLE = """
const [first, last] = [...arguments].map((one) => one.getBoundingClientRect());
return { x: first.x, y: first.y, width: first.width, height: last.bottom - first.y, scale: 1 };
"""


def picture(page: Path, first: str, last: str) -> bytes:
    """A page as PNG, from the element of one selector to that of another.

    Raises `pytest.skip.Exception` where there is no browser.
    """
    with tempfile.TemporaryDirectory() as profile, browser.chromium(Path(profile)) as chrome:
        chrome.get(page.absolute().as_uri())
        shown = [browser.found(chrome, selector) for selector in (first, last)]
        clip = chrome.execute_script(RECTANGLE, *shown)
        whole = {"clip": clip, "captureBeyondViewport": True}
        return base64.b64decode(chrome.execute_cdp_cmd("Page.captureScreenshot", whole)["data"])


def main() -> int:
    """Take them all; the exit code is 1 where a page or the browser is missing."""
    argparse.ArgumentParser(
        prog="make pictures", description=__doc__.partition("\n")[0]
    ).parse_args()
    for page, first, last, file in PICTURES:
        if not (ROOT / page).exists():
            print(f"There is no {page}: run `make report` first.", file=sys.stderr)
            return 1
        try:
            taken = picture(ROOT / page, first, last)
        except pytest.skip.Exception as error:
            print(error, file=sys.stderr)
            return 1
        (ROOT / file).write_bytes(taken)
        print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
