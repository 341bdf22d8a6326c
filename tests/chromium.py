"""Drive a headless Chromium in tests through its debugging pipe, which needs no other library."""

import json
import os
import select
import shutil
import subprocess
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
PATIENCE = 60  # seconds


def wait_until(condition):
    """Return the first true result of a function, which is called until it has one."""
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return result


class Browser:
    """A page in Chromium: open addresses, press keys, click, and evaluate JavaScript."""

    def __init__(self, requests, answers):
        self.requests, self.answers = requests, answers
        self.numbers, self.session, self.events, self.received = count(1), None, [], b""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters) -> dict:
        message = {"id": next(self.numbers), "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == message["id"]:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict:
        while b"\0" not in self.received:
            assert select.select([self.answers], [], [], PATIENCE)[0], "Chromium does not answer"
            part = os.read(self.answers, 2**16)
            assert part, "Chromium ended"
            self.received += part
        text, _, self.received = self.received.partition(b"\0")
        answer = json.loads(text)
        if "method" in answer:
            self.events.append(answer)
        return answer

    def open(self, path: Path) -> None:
        self.events.clear()
        self.send("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()

    def evaluate(self, expression: str):
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str):
        """Return the first true value that an expression has."""
        return wait_until(lambda: self.evaluate(expression))

    def press(self, *keys: str) -> None:
        """Press keys: characters, names such as ArrowRight, or these after "Shift+"."""
        for key in keys:
            key, shift = key.removeprefix("Shift+"), 8 * (key.startswith("Shift+") or key.isupper())
            text = {"text": key} if len(key) == 1 else {}
            self.send("Input.dispatchKeyEvent", type="keyDown", key=key, modifiers=shift, **text)
            self.send("Input.dispatchKeyEvent", type="keyUp", key=key, modifiers=shift)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one place and release it at another; a click if both are the same."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def click(self, selector: str) -> None:
        place = f"document.querySelector({json.dumps(selector)})"
        box = self.evaluate(
            f"(() => {{ {place}.scrollIntoView({{block: 'center'}}); const at = {place}.getBoundingClientRect(); "
            "return [at.x + at.width / 2, at.y + at.height / 2]; })()"
        )
        self.drag(box, box)


@contextmanager
def open_chromium(folder: Path):
    """Start Chromium with a profile in the folder, and yield its page."""
    to_chromium, requests = os.pipe()
    answers, from_chromium = os.pipe()
    command = f'exec "$0" "$@" 3<&{to_chromium} 4>&{from_chromium}'
    arguments = [*ARGUMENTS, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
    process = subprocess.Popen(
        ["bash", "-c", command, CHROMIUM, *arguments],
        pass_fds=(to_chromium, from_chromium),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_chromium)
    os.close(from_chromium)
    try:
        yield Browser(requests, answers)
    finally:
        process.terminate()
        process.wait(30)
        os.close(requests)
        os.close(answers)
