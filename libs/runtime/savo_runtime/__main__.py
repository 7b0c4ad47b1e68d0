"""`python -m savo_runtime SERVICE [SERVICE …]`: run services until SIGTERM or SIGINT.

Exit code 0: stopped, 1: a service cannot continue, 2: wrong use or a wrong setting.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points

import structlog

from savo_runtime.errors import DependencyDownError, FatalError
from savo_runtime.memory import return_freed_memory
from savo_runtime.service import ServiceDefinition
from savo_runtime.service_runner import serve
from savo_runtime.settings import (
    SERVICE_GROUP,
    RuntimeSettings,
    installed_settings,
    known_variables,
    load_settings,
    unknown_variables,
)
from savo_runtime.telemetry.logs import configure_logs
from savo_runtime.telemetry.redaction import Redaction, secrets_of
from savo_runtime.telemetry.traces import configure_traces

__all__ = ["main", "run"]

log = structlog.get_logger()

SHARED_PROCESS_THREADS = 4
"""Size of the thread pool when services share a process, which they do where memory is scarce.

Each thread may hold a decoded photo. asyncio's default is six threads on two cores.
"""

OTHER_VARIABLES = ("SAVO_TEST_PHOTOS",)
"""SAVO_* variables that only tests and tools read."""


def main(arguments: Sequence[str] | None = None) -> int:
    installed = {entry.name: entry for entry in entry_points(group=SERVICE_GROUP)}
    parser = argparse.ArgumentParser(prog="python -m savo_runtime", description=__doc__)
    parser.add_argument(
        "services",
        nargs="+",
        metavar="SERVICE",
        choices=sorted(installed),
        help=f"one or more of {', '.join(sorted(installed))}",
    )
    names = list(dict.fromkeys(parser.parse_args(arguments).services))
    return run([installed[name].load() for name in names])


def run(definitions: Sequence[ServiceDefinition]) -> int:
    """Read the settings from the environment and serve; returns the exit code."""
    return_freed_memory()
    settings = {definition.name: load_settings(definition.settings) for definition in definitions}
    configure_logs(list(settings.values()))
    _warn_of_unknown_settings(settings)
    flush_traces = configure_traces(next(iter(settings.values())), "+".join(settings))
    try:
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            runner.run(_serve_until_signal(definitions, settings))
    except (FatalError, DependencyDownError) as error:
        redaction = Redaction(secret for chosen in settings.values() for secret in secrets_of(chosen))
        print("savo: " + " ".join(redaction.text(str(error)).split()), file=sys.stderr)
        return 1
    finally:
        flush_traces()
    return 0


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, else asyncio's default."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve_until_signal(
    definitions: Sequence[ServiceDefinition], settings: Mapping[str, RuntimeSettings]
) -> None:
    stop = asyncio.Event()
    if len(definitions) > 1:
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(SHARED_PROCESS_THREADS, thread_name_prefix="shared")
        )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(definitions, settings, stop=stop)


def _warn_of_unknown_settings(settings: Mapping[str, RuntimeSettings]) -> None:
    classes = [*installed_settings().values(), *(type(chosen) for chosen in settings.values())]
    for variable in unknown_variables(os.environ, {*known_variables(classes), *OTHER_VARIABLES}):
        log.warning("settings.unknown", variable=variable.name, suggestion=variable.suggestion)


if __name__ == "__main__":
    code = main()
    gc.freeze()  # skips the last garbage collection, which takes seconds on a busy machine
    raise SystemExit(code)
