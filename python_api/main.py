"""Start the service: read the settings, open the database, listen, and stop gracefully."""

import errno
import signal
import sys

import uvloop

from python_api.app import create_app
from python_api.auth.admin import AdminError, create_first_admin
from python_api.environment import ENVIRONMENT
from python_api.http.server import (
    STOP_SIGNALS,
    end_well_on_signals,
    listen,
    log_listening,
    serve,
    to_the_end,
    within_open_files,
)
from python_api.operation.output import let_stderr_fail
from python_api.operation.workers import supervise
from python_api.settings import Settings, SettingsError, read_settings
from python_api.storage.database import OPENING_ERRORS, open_database, why_not_opened


async def run(settings: Settings) -> None:
    """Serve until told to stop. Exits with one clear line when that can't even begin.

    Clauses: OPS-04, OPS-17, RIGHT-12.
    """
    try:
        async with open_database(settings) as database:
            await create_first_admin(database, settings)
            listener = listen(settings)
            log_listening(listener, settings)
            if settings.web_concurrency == 1:
                await serve(create_app(settings, database), settings, listener)
                return
    except AdminError as error:
        sys.exit(str(error))
    except OPENING_ERRORS as error:
        sys.exit(why_not_opened(error))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            sys.exit(f"Cannot listen on port {settings.port} of {settings.host}.")
        sys.exit(f"Port {settings.port} on {settings.host} is in use.")
    await supervise(settings, listener)


def main() -> None:
    """Run the service as the environment says. Clauses: OPS-03."""
    end_well_on_signals()
    # Whoever starts us may hold them back, and on Node that ends by itself.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    # In the processes that are started from here, too (OPS-46).
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    let_stderr_fail()
    try:
        settings = read_settings(ENVIRONMENT)
    except SettingsError as error:
        sys.exit(str(error))
    uvloop.run(to_the_end(run(within_open_files(settings))))
