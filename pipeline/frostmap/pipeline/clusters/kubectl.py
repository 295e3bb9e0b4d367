"""kubectl, as far as a run needs it: objects are made, looked at and removed, and ports forwarded."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

from frostmap.pipeline.errors import UserError

ANSWERS_WITHIN_S = 60.0
_FORWARDS = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> \d+")


class Forwarding(NamedTuple):
    """Ports that are forwarded."""

    ports: list[int]
    """Of this machine, in the order that was asked for."""
    process: subprocess.Popen[str]
    """What forwards them; it ends when the pod does."""
    said: TextIO
    """What it writes."""

    @property
    def last_words(self) -> str:
        """Why it forwards no more, as kubectl put it; empty while it does."""
        if self.process.poll() is None:
            return ""
        self.said.seek(0)
        lines = [line.strip() for line in self.said if line.strip() and not _FORWARDS.search(line)]
        return " ".join(lines[-2:]) or f"exit code {self.process.returncode}"


class Kubectl:
    """kubectl in a context and namespace.

    Parameters
    ----------
    context
        Of the kubeconfig; its current one if empty.
    namespace
        The context's own if empty.

    Raises
    ------
    UserError
        kubectl is not installed.
    """

    def __init__(self, context: str = "", namespace: str = "") -> None:
        program = shutil.which("kubectl")
        if program is None:
            raise UserError(
                "kubectl is not installed",
                where="--cluster kubernetes",
                wanted="kubectl on the path, and a kubeconfig that leads to the cluster",
                remedy="install it (https://kubernetes.io/docs/tasks/tools)",
            )
        options = {"--context": context, "--namespace": namespace}
        self._command = [program, *(f"{name}={value}" for name, value in options.items() if value)]

    def create(self, document: dict[str, Any]) -> None:
        """Make an object."""
        self._call(["create", "-f", "-"], json.dumps(document))

    def get(self, kind: str, selector: str) -> list[dict[str, Any]]:
        """Return the objects of a kind that have some labels."""
        listed: list[dict[str, Any]] = json.loads(self._call(["get", kind, "-l", selector, "-o", "json"]))["items"]
        return listed

    @contextmanager
    def removing(self, kind: str, name: str, selector: str, within_s: float) -> Iterator[None]:
        """Remove an object when the context ends, however that ends, and wait until its pods are gone."""
        try:
            yield
        finally:
            options = ["--ignore-not-found", "--wait=false", "--cascade=background"]
            removal = self._start(["delete", kind, name, *options])  # goes on even if we are interrupted again
            _, said = removal.communicate(timeout=ANSWERS_WITHIN_S)
            if removal.returncode:
                raise _refused(f"delete {kind} {name}", said)
            give_up = time.monotonic() + within_s
            while self.get("pods", selector) and time.monotonic() < give_up:
                time.sleep(1)

    @contextmanager
    def forwarding(self, target: str, ports: Sequence[int]) -> Iterator[Forwarding]:
        """Yield ports of this machine's loopback that lead to ports of a service or pod."""
        arguments = ["port-forward", "--address=127.0.0.1", target, *(f":{port}" for port in ports)]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            forward = self._start(arguments, said)
            try:
                yield Forwarding(_forwarded(forward, said, target, len(ports)), forward, said)
            finally:
                forward.terminate()
                forward.wait()

    def _start(self, arguments: Sequence[str], said: TextIO | None = None) -> subprocess.Popen[str]:
        """Start kubectl in a session of its own: Ctrl-C on the terminal is for us."""
        return subprocess.Popen(  # noqa: S603
            [*self._command, *arguments],
            stdin=subprocess.DEVNULL if said else subprocess.PIPE,
            stdout=said or subprocess.PIPE,
            stderr=said or subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _call(self, arguments: Sequence[str], given: str = "") -> str:
        """Return what kubectl says; `UserError` with its words where it fails."""
        process = self._start(arguments)
        try:
            answer, said = process.communicate(given, timeout=ANSWERS_WITHIN_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise _refused(" ".join(arguments[:2]), f"no answer in {ANSWERS_WITHIN_S:g} s") from error
        if process.returncode:
            raise _refused(" ".join(arguments[:2]), said)
        return answer


def _forwarded(forward: subprocess.Popen[str], said: TextIO, target: str, n: int) -> list[int]:
    """Return the ports that kubectl says it forwards, once it has said all."""
    give_up = time.monotonic() + ANSWERS_WITHIN_S
    while True:
        ended = forward.poll() is not None or time.monotonic() > give_up
        said.seek(0)
        text = said.read()
        ports = [int(port) for port in _FORWARDS.findall(text)]
        if len(ports) == n:
            return ports
        if ended:
            raise _refused(f"port-forward {target}", text)
        time.sleep(0.1)


def _refused(what: str, said: str) -> UserError:
    return UserError(
        "kubectl failed",
        where=f"kubectl {what}",
        found=said.strip()[-500:],
        wanted="a cluster that answers, the Dask operator's definitions, and the rights of the role frostmap-client",
        remedy="try `kubectl get daskclusters`; deploy/README.md says what to install and which rights are needed",
    )
