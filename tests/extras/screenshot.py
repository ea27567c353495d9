"""Take the picture of the page: python -m tests.extras.screenshot docs/demo.jpg"""

import sys
import tempfile
from pathlib import Path

from tests.extras.test_demo import Server, chromium, press, restore


def main(path: str) -> None:
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        server = Server(Path(folder))
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(server.address)
        page.locator("#samples button").nth(1).click()
        page.locator("#compared img").nth(1).wait_for()
        restore(page)
        press(page, "stage", "ArrowLeft", 4)
        page.locator("#text", has_text="x₁").wait_for()
        page.mouse.move(0, 0)
        page.screenshot(path=path, full_page=True, quality=58)
        server.process.terminate()
        server.process.wait()


if __name__ == "__main__":
    main(sys.argv[1])
