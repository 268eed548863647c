"""Becomes an ASGI server that serves python_api's application on a free port.

    python -m benchmarks.runtimes.asgi_server granian

Each has its own defaults, but for a log of requests beside ours and, where that can be had, for the
`Server` that the contract forbids (HDR-07).
"""

import os
import socket
import sys
from pathlib import Path

HOST = "127.0.0.1"
HYPERCORN = Path(__file__).with_name("hypercorn.toml")
APP = "benchmarks.runtimes.asgi:app"


def main(server: str) -> None:
    """Replace this process by the server."""
    with socket.create_server((HOST, 0)) as free:
        port = str(free.getsockname()[1])
    listen = ["--host", HOST, "--port", port]
    options = {
        "uvicorn": [*listen, "--no-server-header", "--no-access-log", "--log-level", "warning"],
        "granian": [*listen, "--interface", "asgi", "--no-log"],
        "hypercorn": ["--bind", f"{HOST}:{port}", "--config", str(HYPERCORN)],
    }
    os.environ |= {"HOST": HOST, "PORT": port}
    os.execv(sys.executable, [sys.executable, "-m", server, *options[server], APP])


if __name__ == "__main__":
    main(sys.argv[1])
