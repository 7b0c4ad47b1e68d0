"""Peer of the round trip: from an HTTP upload through Kafka and back, without any other work.

Nothing is stored, checked, retried or measured. Its two processes are `python -m benchmarks.bare_round_trip http PORT
BROKER` and `python -m benchmarks.bare_round_trip echo BROKER`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import uvicorn
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from fastapi import FastAPI, Request, Response

# Topics that exist on every broker of the product and have no other use in this run.
REQUESTS, RESPONSES = "recipes.requested", "recipes.suggested"

# The same wait as the product uses with the embedded broker, which does not wake a waiting fetch.
FETCH_WAIT_MS = 40


def http_app(broker: str) -> FastAPI:
    waiting: dict[str, asyncio.Future[bytes]] = {}

    async def listen(consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            if (future := waiting.pop(record.key.decode(), None)) is not None:
                future.set_result(record.value)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.producer = producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all")
        consumer = AIOKafkaConsumer(
            RESPONSES, bootstrap_servers=broker, group_id="bare-http", fetch_max_wait_ms=FETCH_WAIT_MS
        )
        await producer.start()
        await consumer.start()
        listening = asyncio.create_task(listen(consumer))
        yield
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await consumer.stop()
        await producer.stop()

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/scans")
    async def scan(request: Request) -> Response:
        await request.body()
        key = uuid4().hex
        waiting[key] = asyncio.get_running_loop().create_future()
        await app.state.producer.send_and_wait(REQUESTS, b'{"photo": "elsewhere"}', key=key.encode())
        return Response(await waiting[key], media_type="application/json")

    return app


async def echo(broker: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all")
    consumer = AIOKafkaConsumer(
        REQUESTS, bootstrap_servers=broker, group_id="bare-echo", fetch_max_wait_ms=FETCH_WAIT_MS
    )
    await producer.start()
    await consumer.start()
    try:
        async for record in consumer:
            await producer.send_and_wait(RESPONSES, b'{"items": []}', key=record.key)
    finally:
        await consumer.stop()
        await producer.stop()


if __name__ == "__main__":
    if sys.argv[1] == "http":
        uvicorn.run(http_app(sys.argv[3]), port=int(sys.argv[2]), log_level="error", timeout_graceful_shutdown=1)
    else:
        asyncio.run(echo(sys.argv[2]))
