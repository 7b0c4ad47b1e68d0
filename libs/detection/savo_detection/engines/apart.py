"""Weighing in a process of its own: what a library took that is then not chosen (100 MB, OpenVINO) goes with it, and what it breaks is not the service."""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock

from savo_detection.engines.weighing import Choice, Network, UnfitError, weigh
from savo_detection.errors import in_a_line

__all__ = ["Apart"]

PATIENCE = 600.0
"""Seconds. TensorRT takes minutes to compile a network."""

_LINE = 160
_ANSWER = b"choice: "
"""Libraries print what they like before and after."""
_END_WITH_PARENT = 1
"""PR_SET_PDEATHSIG."""


@dataclass
class Apart:
    """Weighs for one service, until that stops."""

    patience: float = PATIENCE
    _under_way: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)
    _stopped: bool = False

    def weigh(self, network: Network, names: Sequence[str]) -> Choice:
        """As `weighing.weigh`, of the engines that are known by name. As nice as the thread that asks. Raises `UnfitError` where the process says nothing."""
        command = [sys.executable, "-m", __name__, str(network.threads), *names]
        try:
            said = self._said_by(command, network.data)
        except subprocess.TimeoutExpired as late:
            raise UnfitError(f"it was not measured in {self.patience:g} seconds") from late
        except subprocess.CalledProcessError as died:
            raise UnfitError(f"what measures it {_ended(died)}") from died
        except (OSError, TypeError) as unstarted:  # no such file, no more processes; an interpreter inside another program has no path at all
            raise UnfitError(f"what measures it does not start: {in_a_line(unstarted)}") from unstarted
        for line in said.splitlines():
            if line.startswith(_ANSWER):
                return Choice(**json.loads(line.removeprefix(_ANSWER)))
        raise UnfitError("what measures it ended without an answer")

    def stop(self) -> None:
        """For a service that ends: what measures is ended, nothing more is measured, and who waits for it gets `UnfitError`."""
        with self._lock:
            self._stopped = True
            for process in self._under_way:
                process.kill()

    def _said_by(self, command: Sequence[str], told: bytes) -> bytes:
        """As `subprocess.run`, which keeps to itself what it runs."""
        process = self._started(command)
        with process:
            try:
                said, complained = process.communicate(told, self.patience)
            finally:
                with self._lock:
                    self._under_way.discard(process)
                process.kill()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, said, complained)
        return said

    def _started(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise UnfitError("the service stops")
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self._under_way.add(process)
            return process


def _ended(died: subprocess.CalledProcessError) -> str:
    said = died.stderr.decode(errors="replace").strip().splitlines()
    how = f"was ended by signal {-died.returncode}" if died.returncode < 0 else f"ended with {died.returncode}"
    return f"{how}: {said[-1][:_LINE]}" if said else how


def _be_the_first_to_go() -> None:
    """Where memory ends, Linux is to end this process and not the one that serves."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _end_with_the_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)


def main() -> None:
    # They import this module.
    from savo_detection.engines.selection import Engines
    from savo_detection.model import Detector

    _end_with_the_parent()
    _be_the_first_to_go()
    threads, *names = sys.argv[1:]
    detector = Detector.load(sys.stdin.buffer.read(), threads=int(threads), engines=Engines("auto", names, weigh=weigh))
    sys.stdout.write(f"\n{_ANSWER.decode()}{json.dumps(asdict(detector.choice))}\n")


if __name__ == "__main__":
    main()
