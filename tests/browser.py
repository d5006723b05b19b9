"""A page in headless Chromium, spoken to through its debugging pipe; nothing but the browser is needed."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHROMIUM = next((p for n in ("chromium", "chromium-browser") if (p := shutil.which(n))), None)
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--remote-debugging-pipe", "--hide-scrollbars"),
)


class Browser:
    """One page; `said` holds what it wrote to its console and every address that it asked for."""

    def __init__(self, folder: Path) -> None:
        pipes = [end for _ in range(2) for end in os.pipe()]
        high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in pipes]  # clear of 3 and 4
        for end in pipes:
            os.close(end)
        to_read, self._write, self._read, to_write = high
        # Chromium reads from 3 and writes to 4; a fork of this process, which knows JAX, is not for that.
        moved = (
            f"import os, sys; os.dup2({to_read}, 3); os.dup2({to_write}, 4); "
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-S",
                "-c",
                moved,
                CHROMIUM,
                *OPTIONS,
                f"--user-data-dir={folder}",
                "about:blank",
            ],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self.said, self.asked = [], []
        self._numbers, self._rest, self._events = itertools.count(1), b"", []
        self._session = None
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Open a page and wait until it is there."""
        self._events.clear()
        self._call("Page.navigate", url=path.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._note(self._message())

    def run(self, script: str):
        """Evaluate a script and return its value."""
        found = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def look(self, *, width: int, dark: bool = False, media: str = "screen") -> None:
        """Set the width of the window, the colours that the reader prefers, and the medium."""
        self._call(
            *("Emulation.setDeviceMetricsOverride",),
            **{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
        )
        scheme = "dark" if dark else "light"
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, path: Path) -> None:
        """Write the whole page as PNG."""
        found = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def printed(self) -> bytes:
        """Return the page as PDF."""
        return base64.b64decode(self._call("Page.printToPDF", printBackground=True)["data"])

    def close(self) -> None:
        """End the browser."""
        try:
            self._session = None
            self._call("Browser.close")
            self.process.wait(timeout=10)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._write)
            os.close(self._read)

    def _call(self, method: str, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._message()
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _message(self):
        while b"\0" not in self._rest:
            more = os.read(self._read, 1 << 20)
            if not more:
                raise AssertionError("the browser has ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def _note(self, event) -> None:
        self._events.append(event)
        method, about = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.said.append(str(about["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.said.append(str(about["args"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.said.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(about["request"]["url"][:100])
