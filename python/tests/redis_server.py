"""A Redis server for tests: its own directory and port, synced before it answers."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

PASSWORD = "s3cret"


def is_installed() -> bool:
    return shutil.which("redis-server") is not None


class RedisServer:
    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.settings = {
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "requirepass": PASSWORD,
        } | settings
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, name: str, password: str = PASSWORD) -> str:
        return f"redis://:{password}@127.0.0.1:{self.port}/0?name={name}"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self.directory), "--daemonize", "no"]
        for name, value in self.settings.items():
            command += [f"--{name}", value]
        log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        deadline = time.monotonic() + 30
        while b"PONG" not in self._ping():
            if time.monotonic() > deadline or self.process.poll() is not None:
                tail = (self.directory / "log").read_text()[-2000:]
                raise RuntimeError(f"redis-server does not answer:\n{tail}")
            time.sleep(0.02)

    def _ping(self) -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {PASSWORD}\r\nPING\r\n".encode())
                answer = b""
                while b"PONG" not in answer and len(answer) < 200:
                    more = connection.recv(100)
                    if not more:
                        break
                    answer += more
                return answer
        except OSError:
            return b""

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
