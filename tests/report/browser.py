"""A headless Chromium, spoken to over its debugging pipe: no driver and no package is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WAIT = float(os.environ.get("WSSS_TEST_WAIT", 120))
"""Seconds after which an answer counts as lost; a busy machine may want more."""


def program() -> str | None:
    """Where a Chromium is; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page of one browser.

    Attributes:
        said: What the page complained of since it was opened: errors of scripts, of the console and of loading.
    """

    def __init__(self, folder: Path) -> None:
        to_child, self._write = os.pipe()
        self._read, from_child = os.pipe()
        quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--no-first-run", "--disable-extensions", "--disable-background-networking", "--allow-file-access",
                 "--remote-debugging-pipe", f"--user-data-dir={folder}"]  # fmt: skip
        script = f'exec "$0" "$@" 3<&{to_child} 4>&{from_child}'
        self._log = (folder.parent / "browser.log").open("wb")
        self.process = subprocess.Popen(
            ["bash", "-c", script, str(program()), *quiet, "about:blank"],
            pass_fds=(to_child, from_child), stdout=self._log, stderr=self._log,
        )  # fmt: skip
        os.close(to_child)
        os.close(from_child)
        self._rest, self._number, self._session = b"", 0, None
        self.said: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._write)
        os.close(self._read)
        self._log.close()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of the DevTools protocol."""
        number = self._send(method, **params)
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._event(answer)

    def _send(self, method: str, **params: Any) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        return self._number

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + WAIT
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._read, 1 << 20) if ready else b""
            assert part, "the browser does not answer"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)

    def _event(self, event: dict[str, Any]) -> None:
        method, facts = event.get("method"), event.get("params", {})
        if method == "Page.javascriptDialogOpening" and facts["type"] == "beforeunload":
            self._send("Page.handleJavaScriptDialog", accept=True)  # or the navigation is never answered
        elif method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(facts["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert", "warning"):
            self.said.append(json.dumps(facts["args"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.said.append(facts["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not facts["request"]["url"].startswith(("data:", "file:")):
            self.said.append(f"asked for {facts['request']['url']}")

    def open(self, page: Path, width: int, dark: bool, height: int = 900) -> None:
        """Show a file in a window of that width, in light or dark, and wait until it is loaded."""
        self.said = []
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.resolve().as_uri())
        end = time.monotonic() + WAIT
        while not self.ask(
            f"document.readyState === 'complete' && location.href === {json.dumps(page.resolve().as_uri())}"
        ):
            assert time.monotonic() < end, "the page does not finish loading"
            time.sleep(0.05)
        self.ask("Promise.all([...document.images].map(i => i.decode().catch(() => 0))).then(() => 1)")

    def ask(self, script: str) -> Any:
        """What an expression in the page comes to; promises are waited for."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def shoot(self, target: Path, top: float = 0, height: float | None = None) -> None:
        """A PNG of the page, or of ``height`` pixels of it from ``top`` on."""
        size = self.ask("[document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": top, "width": size[0], "height": min(height or size[1], size[1] - top), "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        target.write_bytes(base64.b64decode(found["data"]))
