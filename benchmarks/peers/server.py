"""How the Python peers run: uvicorn on uvloop and httptools, as its deployment guide advises."""

import json
import os
import signal
import socket
import sys
from typing import Any

import uvicorn


def serve(app: Any) -> None:
    """Serve the application until SIGTERM, without what is for proxies and for debugging."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    # uvicorn raises the signal that stopped it once more.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = ("127.0.0.1", int(os.environ.get("PORT", "0")))
    with socket.create_server(address, backlog=2048) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        print(json.dumps({"message": "listening", "url": url}), flush=True)
        uvicorn.Server(config).run(sockets=[listener])
