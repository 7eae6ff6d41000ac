"""The same with Starlette alone: the task that serves the application also hosts the runner."""

from contextlib import asynccontextmanager

import anyio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from sentrio import AsyncCheckpointRunner, UnknownCheckpointError, load_config

runner = AsyncCheckpointRunner()
for checkpoint in load_config("sentrio.yaml").checkpoints.values():
    runner.add_checkpoint(checkpoint)


@asynccontextmanager
async def lifespan(app):
    async with anyio.create_task_group() as tg:
        await tg.start(runner.serve)
        yield
        await runner.stop_async()


async def run_now(request):
    name = request.path_params["name"]
    try:
        return JSONResponse((await runner.run_once_async(name)).to_dict())
    except UnknownCheckpointError as exc:
        return JSONResponse({"detail": str(exc)}, 404)


async def statistics(request):
    return JSONResponse(runner.get_stats())


app = Starlette(
    lifespan=lifespan,
    routes=[Route("/checkpoints/{name}/runs", run_now, methods=["POST"]), Route("/statistics", statistics)],
)
