"""What servers do not do by themselves: end a request whose client has gone."""

import anyio


class StopWhenClientLeaves:
    """ASGI middleware: when a client leaves before it was answered, its request is cancelled, query and all."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answered = False
        # One message ahead of the application: a large body is not read faster than the application wants it.
        post, messages = anyio.create_memory_object_stream(1)

        async def listen():
            async with post:
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect" and not answered:
                        request.cancel_scope.cancel()
                    await post.send(message)
                    if message["type"] == "http.disconnect":
                        return

        async def read():
            try:
                return await messages.receive()
            except anyio.EndOfStream:
                return {"type": "http.disconnect"}

        async def answer(message):
            nonlocal answered
            answered = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        failure = None
        async with messages, anyio.create_task_group() as request:
            request.start_soon(listen)
            try:
                await self.app(scope, read, answer)
            except Exception as exc:  # noqa: BLE001
                failure = exc  # raised below, outside of the group, as it is
            request.cancel_scope.cancel()
        if failure is not None:
            raise failure
