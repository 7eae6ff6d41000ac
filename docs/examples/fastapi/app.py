"""Checkpoints inside FastAPI: they run on their triggers while the application does, and when somebody asks.

Run it: ``hypercorn app:app`` (``-k trio`` for trio, ``-k uvloop`` for uvloop).
"""

from contextlib import asynccontextmanager

import anyio
from disconnect import StopWhenClientLeaves
from fastapi import FastAPI, HTTPException

from sentrio import AsyncCheckpointRunner, UnknownCheckpointError, load_config

runner = AsyncCheckpointRunner(max_concurrent_checkpoints=4)
for checkpoint in load_config("sentrio.yaml").checkpoints.values():
    runner.add_checkpoint(checkpoint)


@asynccontextmanager
async def lifespan(app):
    async with runner:  # triggers fire while the application runs, and stop with it
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(StopWhenClientLeaves)


@app.post("/checkpoints/{name}/runs")
async def run_now(name: str):
    try:
        with anyio.fail_after(20):  # the query stops too, not only the answer
            return (await runner.run_once_async(name)).to_dict()
    except UnknownCheckpointError as exc:
        raise HTTPException(404, str(exc)) from exc
    except TimeoutError as exc:
        raise HTTPException(504, f"{name} took more than 20 s") from exc
