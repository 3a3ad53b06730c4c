"""A headless Chromium, told what to do over the pipes of its DevTools protocol."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

SECONDS = 60.0  # that a page may take
OPTIONS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1400,1000",
)


class Page:
    """One page of the browser."""

    def __init__(self, commands: IO[bytes], answers: IO[bytes]) -> None:
        self._commands, self._answers = commands, answers
        self._number = 0
        self._login: tuple[str, str] | None = None
        self._session: str | None = None

    def open(self) -> Self:
        target = self.tell("Target.createTarget", url="about:blank")["targetId"]
        attached = self.tell("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.tell("Page.enable")
        self.tell("Fetch.enable", handleAuthRequests=True)
        return self

    def log_in(self, user: str, password: str) -> None:
        """From now on fill in the browser's window that asks for a login; before, it is left."""
        self._login = (user, password)

    def go(self, address: str) -> None:
        self.tell("Page.navigate", url=address)

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        answer = self.tell(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Wait until an expression of JavaScript is true; give its value."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with suppress(RuntimeError):  # the page is still being loaded
                if value := self.evaluate(script):
                    return value
            time.sleep(0.2)
        text = self.evaluate("document.body.innerText")
        raise TimeoutError(f"never true: {script}; the page: {text}")

    def see(self, words: str) -> None:
        """Wait until the page shows these words."""
        self.wait_for(f"document.body.innerText.includes({json.dumps(words)})")

    def picture(self, path: Path) -> None:
        """Take a picture of what is seen."""
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot")["data"]))

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer."""
        number = self._send(method, parameters)
        while True:
            message = self._receive()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                answer: dict[str, Any] = message["result"]
                return answer
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        """What happens by itself: requests, and being asked for a login."""
        parameters = message.get("params", {})
        match message.get("method"):
            case "Fetch.requestPaused":
                self._send("Fetch.continueRequest", {"requestId": parameters["requestId"]})
            case "Fetch.authRequired":
                self._send(
                    "Fetch.continueWithAuth",
                    {"requestId": parameters["requestId"], "authChallengeResponse": self._answer()},
                )

    def _answer(self) -> dict[str, str]:
        if self._login is None:
            return {"response": "CancelAuth"}
        user, password = self._login
        return {"response": "ProvideCredentials", "username": user, "password": password}

    def _send(self, method: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        return self._number

    def _receive(self) -> dict[str, Any]:
        text = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser is gone")
            text += byte
        message: dict[str, Any] = json.loads(text)
        return message


@contextmanager
def browser(program: str, folder: Path) -> Iterator[Page]:
    """Run a browser whose files lie in `folder`; give a page of it."""
    from_us, to_browser = os.pipe()
    from_browser, to_us = os.pipe()
    options = [*OPTIONS, f"--user-data-dir={folder / 'profile'}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium's own does not work for root

    def numbered() -> None:
        """Give the pipes the numbers at which Chromium looks for them."""
        read, write = os.dup(from_us), os.dup(to_us)
        os.dup2(read, 3)
        os.dup2(write, 4)

    with (
        (folder / "chromium.log").open("wb") as log,
        subprocess.Popen(
            [program, *options],
            stdout=log,
            stderr=log,
            preexec_fn=numbered,  # noqa: PLW1509 - nothing else can renumber them
            close_fds=False,
        ) as process,
    ):
        os.close(from_us)
        os.close(to_us)
        try:
            with os.fdopen(to_browser, "wb") as commands, os.fdopen(from_browser, "rb") as answers:
                yield Page(commands, answers).open()
        finally:
            process.terminate()
            process.wait(20)
