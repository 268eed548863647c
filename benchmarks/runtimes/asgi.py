"""python_api's application, for an ASGI server that knows nothing of it.

It says where that listens, HOST and the port of PORT, as the service itself does: by a line of JSON.
"""

# First: no library that is imported may read it (OPS-45).
from python_api.environment import ENVIRONMENT  # isort: skip

import json
import socket
import time
from asyncio import TaskGroup
from threading import Thread

from starlette.types import ASGIApp, Receive, Scope, Send

from python_api.app import create_app
from python_api.auth.admin import create_first_admin
from python_api.settings import read_settings
from python_api.storage.database import open_database


class Service:
    """The application over a database that is open as long as the server's lifespan lasts."""

    def __init__(self) -> None:
        """Nothing is read or opened yet."""
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or begin and end with the server."""
        if scope["type"] != "lifespan":
            assert self._app is not None
            await self._app(scope, receive, send)
            return
        settings = read_settings(ENVIRONMENT)
        await receive()
        async with open_database(settings) as database:
            await create_first_admin(database, settings)
            app = self._app = create_app(settings, database)
            async with TaskGroup() as group:
                for run in app.state.beside:
                    group.create_task(run())
                await send({"type": "lifespan.startup.complete"})
                Thread(target=_tell, args=(settings.host, settings.port), daemon=True).start()
                await receive()
                for tell in app.state.on_stop:
                    tell()
        await send({"type": "lifespan.shutdown.complete"})


def _tell(host: str, port: int) -> None:
    """Say where the server listens, as soon as it does."""
    while True:
        try:
            socket.create_connection((host, port)).close()
        except OSError:
            time.sleep(0.005)
        else:
            print(json.dumps({"message": "listening", "url": f"http://{host}:{port}"}), flush=True)
            return


app = Service()
