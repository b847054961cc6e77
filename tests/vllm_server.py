"""vLLM, in an environment of its own, serving a folder on loopback: for tests and benchmarks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


# The Python of an environment with vLLM; that of `make test-vllm` where none is named.
ROOT = Path(__file__).parents[1]
VLLM_PYTHON = Path(os.environ.get("AUDIOLLM_VLLM_PYTHON", ROOT / ".venv-vllm" / "bin" / "python"))
MISSING = f"no vLLM: {VLLM_PYTHON} is not there. Run `make test-vllm`, or name its Python in AUDIOLLM_VLLM_PYTHON."
# A small share of this machine: one gigabyte for keys and values, no compilation, and no pinning to cores.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}
OPTIONS = ("--dtype", "float32", "--enforce-eager")


class VllmServer:
    """A server of one model, which can be killed and started again where it was.

    Args:
        model: folder to serve.
        name: of the model in requests.
        log: file for what the server says.
        options: further arguments of `vllm serve`.
    """

    def __init__(self, model: str | Path, name: str, log: Path, options: Sequence[str] = ()):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.log, self._process = log, None
        # What `vllm serve` runs; the command itself fails in vllm-cpu 0.32, which asks for a package named vllm.
        self._command = [VLLM_PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
        self._command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(self.port)]
        self._command += [*OPTIONS, *options]

    def start(self, patience: float = 900) -> float:
        """Start, and wait until requests are answered; gives the seconds that took.

        Raises:
            RuntimeError: with the end of the log, if the server ends or is not up after `patience` seconds.
        """
        started = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                list(map(str, self._command)),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ENVIRONMENT},
                cwd=self.log.parent,
                start_new_session=True,
            )
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() - started > patience:
                self.kill()
                end = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
                raise RuntimeError(f"vLLM did not come up; {self.log} ends with:\n{end}")
            time.sleep(1)
        return time.monotonic() - started

    def kill(self):
        """End the server and its workers at once."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._process.wait()

    def cpu_seconds(self) -> float:
        """What the server and its workers have used of the processor (Linux)."""
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[2]) == self._process.pid:  # its process group
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def vllm_server(model: str | Path, name: str, log: Path, options: Sequence[str] = ()) -> Iterator[VllmServer]:
    """A running [`VllmServer`]; it is ended on the way out."""
    server = VllmServer(model, name, log, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()


AUDIO_MODEL = ("--trust-remote-code", "--model-impl", "transformers")  # what serving our folders takes
