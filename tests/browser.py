"""A headless Chromium, steered through a pipe by the DevTools protocol: no driver, no package."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)

_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)

_DEEP = """
(() => {
  const roots = [document], words = [];
  for (const root of roots) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ALL);
    for (let node = walker.currentNode; node; node = walker.nextNode()) {
      if (node.shadowRoot) roots.push(node.shadowRoot);
      if (node.contentDocument) roots.push(node.contentDocument);
      if (node.nodeType === 3 && !["SCRIPT", "STYLE"].includes(node.parentNode?.nodeName))
        words.push(node.data);
    }
  }
  return {roots, text: words.join(" ").replace(/\\s+/g, " ")};
})()
"""
"""All documents within a page, those of frames and shadow trees included, and their text."""


class Page:
    """One page of a browser.

    Args:
        to_browser: the pipe to it.
        from_browser: the pipe from it.
    """

    def __init__(self, to_browser: IO[bytes], from_browser: IO[bytes]) -> None:
        self._to, self._from = to_browser, from_browser
        self._number = 0
        self._session: str | None = None
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol and wait for its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (answer := self._read()).get("id") != self._number:
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]))
        assert "error" not in answer, answer
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, address: str, *, width: int = 1400, height: int = 1000) -> None:
        """Go to an address, in a window of some size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=address)

    def text(self) -> str:
        """All text of the page."""
        found: str = self.evaluate(f"{_DEEP}.text")
        return found

    def count(self, selector: str) -> int:
        """Elements that a CSS selector finds, in all documents."""
        script = f"{_DEEP}.roots.flatMap(r => [...r.querySelectorAll({json.dumps(selector)})])"
        return int(self.evaluate(f"{script}.filter(e => e.getClientRects().length).length"))

    def click(self, selector: str, text: str = "") -> None:
        """Click on all elements that a selector finds and whose text contains some words."""
        script = f"{_DEEP}.roots.flatMap(r => [...r.querySelectorAll({json.dumps(selector)})])"
        words = json.dumps(text)
        self.evaluate(f"{script}.filter(e => e.textContent.includes({words})).map(e => e.click())")

    def wait_for(self, *words: str, selector: str = "body", seconds: float = 60) -> None:
        """Wait until all words and an element are there; say what is there if they do not come."""
        end = time.monotonic() + seconds
        while not (self.count(selector) and all(word in self.text() for word in words)):
            assert time.monotonic() < end, f"expected {words} and {selector}, found {self.text()}"
            time.sleep(0.25)

    def screenshot(self, path: Path) -> None:
        """Keep what is seen as a PNG."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def _read(self) -> Any:
        parts = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "the browser has ended"
            parts += byte
        return json.loads(parts)


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page of a browser with an empty profile of its own."""
    assert CHROMIUM is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # Chromium reads from 3 and writes to 4: out of the way, so that one does not replace the other
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
    os.close(theirs_in)
    os.close(theirs_out)
    process = subprocess.Popen(
        [
            "bash",
            "-c",
            f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}',
            "bash",
            CHROMIUM,
            *_OPTIONS,
            f"--user-data-dir={profile}",
        ],
        pass_fds=ends,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for end in ends:
        os.close(end)
    try:
        with os.fdopen(ours_out, "wb") as to_browser, os.fdopen(ours_in, "rb") as from_browser:
            yield Page(to_browser, from_browser)
    finally:
        process.terminate()
        process.wait(timeout=30)
