"""Several processes behind one port (`WEB_CONCURRENCY`), each a service of its own."""

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
from asyncio import FIRST_COMPLETED
from contextlib import ExitStack
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from prometheus_client.multiprocess import mark_process_dead

from python_api.app import create_app
from python_api.http.server import STOP_SIGNALS, end_well_on_signals, on_signal, serve, to_the_end
from python_api.operation.observability import log, share_metrics
from python_api.operation.output import let_stderr_fail
from python_api.settings import Settings
from python_api.storage.database import OPENING_ERRORS, open_database, why_not_opened

RESTART_SECONDS = 1
SHARED_MEMORY = "/dev/shm"  # noqa: S108 (a directory in it is ours alone)

# A forked process would share the parent's event loop.
spawn = multiprocessing.get_context("spawn")


async def supervise(settings: Settings, listener: socket.socket) -> None:
    """Keep `settings.web_concurrency` processes serving until SIGTERM or SIGINT; then stop them.

    One that ends by itself is replaced.

    Clauses: OPS-24.
    """
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    on_signal(lambda: loop.call_soon_threadsafe(told_to_stop.set))
    with ExitStack() as at_the_end:
        # In memory, where there is room and nobody clears up.
        place = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        directory = None
        try:
            made = TemporaryDirectory(dir=place, ignore_cleanup_errors=True)
            directory = at_the_end.enter_context(made)
            share_metrics(directory)
        except OSError:
            log("warning", "each process has its own metrics: no directory can be written")
        async with asyncio.TaskGroup() as group:
            stop = group.create_task(told_to_stop.wait())
            stop.add_done_callback(lambda _: listener.close())
            for _ in range(settings.web_concurrency):
                group.create_task(_keep_one(settings, listener, directory, stop))


async def _keep_one(
    settings: Settings, listener: socket.socket, directory: str | None, stop: asyncio.Task[Any]
) -> None:
    """Start a worker anew whenever it dies, until all are to stop. Clauses: OPS-24."""
    while not stop.done():
        begun, importing = spawn.Pipe(duplex=False)
        process = spawn.Process(target=work, args=(settings, listener, importing), daemon=True)
        # Python 3.11 unblocks signals when it starts this tracker, so it is started before.
        resource_tracker.ensure_running()
        # Ctrl-C reaches every process of a terminal; a worker holds it back until it can end well.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        process.start()
        importing.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        ended = asyncio.create_task(_end_of(process))
        await asyncio.wait([ended, stop], return_when=FIRST_COMPLETED)
        if stop.done():
            # One that still imports holds the signal back, and has nothing to end well; on Node the
            # signal itself ends it at once.
            end = process.terminate if begun.poll() else process.kill
            end()
            await ended
        else:
            log("error", "worker died", pid=process.pid or 0, status=process.exitcode or 0)
            if directory:
                mark_process_dead(process.pid, directory)  # type: ignore[no-untyped-call]
            await asyncio.wait([stop], timeout=RESTART_SECONDS)


async def _end_of(process: BaseProcess) -> None:
    """Wait for its end without a thread: there may be more processes than asyncio has threads."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process.sentinel, ended.set)
    await ended.wait()
    loop.remove_reader(process.sentinel)
    process.join()


def work(settings: Settings, listener: socket.socket, importing: Connection) -> None:
    """Serve as one of several processes, on the socket that they share; first close `importing`."""
    end_well_on_signals()
    # Closed and not written to: that works, too, where the first process is gone.
    importing.close()
    let_stderr_fail()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    uvloop.run(to_the_end(_work(settings, listener)))


def stop_with_first() -> None:
    """In a worker: stop as on SIGTERM once the first process is gone, however it ended.

    Clauses: OPS-47.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_reader(parent.sentinel)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, stop)


async def _work(settings: Settings, listener: socket.socket) -> None:
    """Serve from a process of its own. Clauses: OPS-17, OPS-24."""
    stop_with_first()
    try:
        async with open_database(settings) as database:
            log("info", "worker started", pid=os.getpid())
            await serve(create_app(settings, database), settings, listener)
    except OPENING_ERRORS as error:
        sys.exit(why_not_opened(error))
