"""`savo up`: the services, in one process each or all in one, on an embedded broker or a given Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Literal

import httpx2
import typer
from rich.console import Console

from savo_cli.start.plan import HOST, STANDIN_PROVIDERS, Plan, UpOptions, free_port, make_plan
from savo_cli.start.preflight import WrongSettingError, check_settings, error_text, locked_data_folder
from savo_cli.start.processes import ProcessFailedError, ProcessSpec, SupervisedProcess
from savo_cli.weekly.schedule import DigestSender, WeeklySchedule, is_configured
from savo_runtime.errors import FatalError
from savo_runtime.messaging.kafka.embedded import MAX_PARTITIONS, EmbeddedBroker
from savo_runtime.timing.clock import utc_now

__all__ = ["UpOptions", "run", "up"]

READY_SECONDS = 90.0
POLL_SECONDS = 0.2


def up(
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Port of the gateway.", envvar="PORT", min=1, max=65535)
    ] = 8000,
    data_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for databases, objects and logs.", envvar="SAVO_DATA_DIR")
    ] = Path(".savo"),
    kafka: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Kafka to use instead of the embedded broker."),
    ] = None,
    standin: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also start the stand-in for Google; it answers from the labels of this YOLO folder."
        ),
    ] = None,
    standin_option: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION", help='Option of the stand-in after an "=" sign, such as --latency-scale=0.1.'),
    ] = None,
    one_process: Annotated[
        bool,
        typer.Option("--one-process", help="Run all services but the trainer in one process, for hosts with 512 MB."),
    ] = False,
    logs: Annotated[
        bool, typer.Option("--logs", help="Print the services' logs, in addition to the files in DIR/logs.")
    ] = False,
) -> None:
    """Start all services, with an embedded broker unless --kafka is given."""
    options = UpOptions(port, data_dir, kafka, standin, tuple(standin_option or ()), one_process, logs)
    raise typer.Exit(asyncio.run(run(options, Console())))


async def run(options: UpOptions, console: Console) -> int:
    """Run until SIGINT or SIGTERM. Returns 0 when stopped, 1 on failure, 2 for an invalid setting."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with AsyncExitStack() as stack:
            plan = make_plan(options)
            await check_settings(plan.services, plan.environment)
            stack.enter_context(locked_data_folder(options.data_dir))
            _use_broker(plan, stack)
            await _use_standin(plan, stack, console)
            return await _run(plan, stop, console)
    except (WrongSettingError, FatalError, ProcessFailedError, OSError) as error:
        console.print(
            f"savo up: {error_text(error, options.data_dir)}",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return 2 if isinstance(error, WrongSettingError) else 1


def _use_broker(plan: Plan, stack: AsyncExitStack) -> None:
    given = plan.options.kafka or plan.environment.get("SAVO_KAFKA_BOOTSTRAP_SERVERS", "embedded")
    if given != "embedded":
        plan.environment["SAVO_KAFKA_BOOTSTRAP_SERVERS"] = given
        plan.notes.append(f"Kafka at {given}")
        return
    # A partition takes up to 5 MB of memory, so a small host gets one per topic.
    partitions = 1 if plan.options.one_process else MAX_PARTITIONS
    env: Literal["dev", "production"] = "production" if plan.environment.get("SAVO_ENV") == "production" else "dev"
    broker = stack.enter_context(EmbeddedBroker(env=env, max_partitions=partitions))
    plan.environment |= {"SAVO_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "SAVO_EMBEDDED_BROKER": "true"}
    plan.notes.append(f"embedded broker at {broker.bootstrap_servers}, in memory, for trying and testing")


async def _use_standin(plan: Plan, stack: AsyncExitStack, console: Console) -> None:
    folder = plan.options.standin
    if folder is None:
        return
    # A fixed port, so that a restarted stand-in has the same address.
    port = free_port()
    command = (
        sys.executable,
        "-m",
        "savo_demo.standin",
        "--truth",
        str(folder),
        "--port",
        str(port),
        *plan.options.standin_options,
    )
    process = SupervisedProcess(
        ProcessSpec("stand-in", command, plan.environment, plan.log("stand-in")), _printer(console)
    )
    task = asyncio.create_task(process.run())
    stack.push_async_callback(_end, task)
    stack.push_async_callback(process.stop)
    url = f"http://{HOST}:{port}"
    await _wait_for(["stand-in"], lambda _: f"{url}/livez", [task], plan.logs_dir)
    process.mark_ready()
    plan.environment |= {
        provider.base_url_variables[0]: f"{url}{provider.standin_path}" for provider in STANDIN_PROVIDERS
    }
    providers = " and ".join(provider.title for provider in STANDIN_PROVIDERS)
    plan.notes.append(f"a stand-in answers for {providers} from the labels in {folder}")


async def _run(plan: Plan, stop: asyncio.Event, console: Console) -> int:
    shutil.rmtree(plan.run_dir, ignore_errors=True)
    processes = [SupervisedProcess(_spec(plan, group), _printer(console)) for group in plan.groups()]
    tasks = [asyncio.create_task(process.run()) for process in processes]
    stopped = asyncio.create_task(stop.wait())
    digest: asyncio.Task[None] | None = None
    try:
        ready = asyncio.create_task(
            _wait_for(
                plan.services, lambda name: (url := _url_of(plan, name)) and f"{url}/readyz", tasks, plan.logs_dir
            )
        )
        await asyncio.wait([ready, stopped], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            ready.cancel()
            return 0
        ready.result()
        for process in processes:
            process.mark_ready()
        _write_up_file(plan)
        console.print(
            f"savo is up: {plan.gateway_url} ({'; '.join(plan.notes)}) — Ctrl-C stops",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        digest = _scheduled_digest(plan, console)
        await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        return 0
    finally:
        stopped.cancel()
        if digest is not None:
            await _end(digest)
        _up_file(plan).unlink(missing_ok=True)
        # The gateway first: no new requests arrive while the other services finish their work.
        for process in processes[:1]:
            await process.stop()
        await asyncio.gather(*(process.stop() for process in processes[1:]))
        await asyncio.gather(*tasks, return_exceptions=True)


def _scheduled_digest(plan: Plan, console: Console) -> asyncio.Task[None] | None:
    """The weekly digest, if a mail server and a recipient are set."""
    if not is_configured(plan.environment):
        return None
    sender = DigestSender(plan.gateway_url, plan.environment, needs_key=plan.auth != "none")
    stamp = plan.options.data_dir.resolve() / "digest-week"
    return asyncio.create_task(WeeklySchedule(stamp, sender, _printer(console), utc_now).run())


def _spec(plan: Plan, group: tuple[str, ...]) -> ProcessSpec:
    name = "+".join(group)
    ports = {"PORT": str(plan.options.port), "SAVO_HTTP_PORT": str(plan.rollout_port if "rollout" in group else 0)}
    # Only the gateway is for other machines, unless SAVO_HTTP_HOST is set.
    address = {"SAVO_HTTP_HOST": plan.host} if "gateway" in group else {}
    return ProcessSpec(
        name,
        (sys.executable, "-m", "savo_runtime", *group),
        plan.environment | ports | address,
        plan.log(name),
        echo=plan.options.logs,
    )


def _url_of(plan: Plan, service: str) -> str | None:
    """The address that a service wrote to its file; None before that."""
    try:
        return str(json.loads((plan.run_dir / f"{service}.json").read_text())["url"])
    except FileNotFoundError:
        return None


async def _wait_for(
    names: Sequence[str], url_of: Callable[[str], str | None], tasks: Sequence[asyncio.Task[None]], logs: Path
) -> None:
    """Wait until each answers 200. Raises `ProcessFailedError`, or `FatalError` with the answers of those not ready."""
    answers = dict.fromkeys(names, "no answer yet")
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    async with httpx2.AsyncClient(timeout=2, trust_env=False) as client:
        while answers:
            for task in tasks:
                if task.done():
                    task.result()
            if asyncio.get_running_loop().time() > deadline:
                pending = "; ".join(f"{name}: {answer}" for name, answer in answers.items())
                raise FatalError(f"not ready within {READY_SECONDS:g} s: {pending}; see the logs in {logs}")
            for name in list(answers):
                if url := url_of(name):
                    answers[name] = await _ask(client, url)
            answers = {name: answer for name, answer in answers.items() if answer}
            await asyncio.sleep(POLL_SECONDS)


async def _ask(client: httpx2.AsyncClient, url: str) -> str:
    """Empty for a 200, else the answer or the error."""
    try:
        answer = await client.get(url)
    except httpx2.HTTPError as error:
        return str(error) or type(error).__name__
    return "" if answer.status_code == httpx2.codes.OK else answer.text[:300]


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _printer(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _up_file(plan: Plan) -> Path:
    return plan.run_dir / "up.json"


def _write_up_file(plan: Plan) -> None:
    path = _up_file(plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    services = {name: _url_of(plan, name) for name in plan.services}
    kafka = plan.environment["SAVO_KAFKA_BOOTSTRAP_SERVERS"]
    embedded = plan.environment.get("SAVO_EMBEDDED_BROKER") == "true"
    own = {"pid": os.getpid(), "gateway_url": plan.gateway_url}
    path.write_text(json.dumps(own | {"kafka": kafka, "embedded": embedded, "services": services}, indent=2))
