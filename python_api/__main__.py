"""Start the service: read the settings, open the database, listen, and stop gracefully."""

import errno
import os
import signal
import sys

import uvloop
from sqlalchemy.exc import DBAPIError

from python_api.app import create_app
from python_api.database import open_database
from python_api.server import listen, serve
from python_api.settings import Settings, SettingsError, read_settings


async def run(settings: Settings) -> None:
    """Serve until told to stop. Exits with one clear line when that can't even begin."""
    try:
        async with open_database(settings.database_url, settings.database_timeout) as database:
            listener = listen(settings)
            await serve(create_app(settings, database), settings, listener)
    except DBAPIError as error:
        sys.exit(f"The database cannot be opened: {error.orig}")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            sys.exit(f"Cannot listen on port {settings.port} of {settings.host}.")
        sys.exit(f"Port {settings.port} on {settings.host} is in use.")


def main() -> None:
    """Run the service as the environment says."""
    # uvicorn raises the signal that stopped it once more, at the end: this one ends with 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
