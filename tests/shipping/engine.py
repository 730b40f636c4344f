"""A Docker Engine for tests: Debian's dockerd in its own network namespace; everything it writes is in one folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.shipping.machine import need_root, need_tools, remove_cgroups

PROGRAMS = {
    "dockerd": "docker.io",
    "/usr/bin/docker": "docker.io",
    "docker-compose": "docker-compose",
    "runc": "runc",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "ip": "iproute2",
}


class Engine:
    """One running engine. `pid` is the daemon's; containers' published ports are in its network namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "docker.sock"
        self._log = folder / "dockerd.log"
        self._name = f"ct-test-{os.getpid()}"
        arguments = [
            f"--data-root={folder / 'data'}",
            f"--exec-root={folder / 'exec'}",
            f"--pidfile={folder / 'docker.pid'}",
            f"--host=unix://{self.socket}",
            f"--cgroup-parent={self._name}",
            "--storage-driver=overlay2",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            "--shutdown-timeout=5",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec dockerd "$@"', "sh", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait(self, condition: Callable[[], Any], what: str, timeout: float = 60.0) -> Any:
        """Until `condition` is true."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            if found := condition():
                return found
            time.sleep(0.1)
        log = "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])
        raise AssertionError(f"after {timeout:.0f} s still not: {what}\n{log}")

    def answers(self) -> bool:
        """Whether the engine takes commands."""
        return self.socket.exists() and self.run("info", check=False).returncode == 0

    @property
    def environment(self) -> dict[str, str]:
        """For programs that talk to it."""
        return os.environ | {"DOCKER_HOST": f"unix://{self.socket}", "DOCKER_BUILDKIT": "0"}

    def run(
        self, *arguments: str | Path, check: bool = True, timeout: float = 300.0, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """One command of the client."""
        return run("/usr/bin/docker", *arguments, check=check, timeout=timeout, env=self.environment, **more)

    def compose(self, file: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """One command on a compose file."""
        return run(
            "docker-compose",
            "-p",
            "shipping",
            "-f",
            file,
            *arguments,
            timeout=300.0,
            env=self.environment | variables,
        )

    def inspect(self, container: str) -> Any:
        """What the engine knows of a container."""
        return json.loads(self.run("inspect", container).stdout)[0]

    def health(self, container: str) -> str:
        """`starting`, `healthy` or `unhealthy`."""
        return str(self.inspect(container)["State"]["Health"]["Status"])

    def load(self, root: Path, image: str, *changes: str) -> None:
        """An image of that name from a root folder, with lines of a Dockerfile."""
        with subprocess.Popen(
            ["tar", "-C", root, "--numeric-owner", "-c", "."], stdout=subprocess.PIPE
        ) as tar:
            options = [part for change in changes for part in ("--change", change)]
            self.run("import", *options, "-", image, stdin=tar.stdout)
        assert tar.returncode == 0

    def fetch(self, url: str) -> Any:
        """The JSON at an address of the engine's network namespace; None if nobody answers there."""
        done = run(
            "nsenter",
            f"--net=/proc/{self.pid}/ns/net",
            "curl",
            "-sS",
            "-m",
            "5",
            url,
            check=False,
            timeout=30.0,
        )
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None

    def close(self) -> None:
        """End it and all of its containers, and take away what it has mounted."""
        if self._process.poll() is None:
            running = self.run("ps", "-aq", check=False).stdout.split()
            if running:
                self.run("rm", "-f", "-v", *running, check=False)
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(30)
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        for place in sorted((line.split()[1] for line in mounts), reverse=True):
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", place], check=False)
        remove_cgroups(self._name)


def run(
    *command: str | Path, check: bool = True, timeout: float, **more: Any
) -> subprocess.CompletedProcess[str]:
    """A command; one that fails shows what it said."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        **({"stdin": subprocess.DEVNULL} | more),
    )
    if check and done.returncode != 0:
        said = f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        raise AssertionError(f"{' '.join(map(str, command[:4]))} ended with {done.returncode}:\n{said}")
    return done


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """An engine in that folder; skips, with the reason, where none can be started."""
    need_root("starting a container engine")
    need_tools("starting a container engine", PROGRAMS)
    folder.mkdir(parents=True)
    started = Engine(folder)
    try:
        try:
            started.wait(started.answers, "the engine answers", timeout=30.0)
        except AssertionError as error:
            pytest.skip(f"this machine starts no container engine: {error}")
        yield started
    finally:
        started.close()
        shutil.rmtree(folder, ignore_errors=True)
