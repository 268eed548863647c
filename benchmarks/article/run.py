"""Times one case: `python -m benchmarks.article.run '{"topic": "cpu", "variant": "floats", …}'`.

Prints one line of JSON: the answer, and what an iteration took.
"""

import asyncio
import importlib
import inspect
import json
import re
import resource
import statistics
import sys
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from benchmarks.article.case import Case, Given, Work

# What takes less is done several times between two looks at the clock.
BLOCK_SECONDS = 0.01
# What takes more is done once: to warm it up changes nothing.
LONG_SECONDS = 2


async def time_case(asked: dict[str, Any]) -> dict[str, object]:
    """Prepare a case and time it; with no seconds to spend, do it just once, for its answer."""
    cases: dict[str, Case] = importlib.import_module(f"benchmarks.article.{asked['topic']}").CASES
    async with AsyncExitStack() as stack:
        given = Given(asked["size"], asked["url"], Path(asked["directory"]), stack)
        work = cases[asked["variant"]](given)
        if inspect.isawaitable(work):
            work = await work
        cpu, begin = time.process_time(), time.perf_counter()
        result = work()
        is_async = inspect.isawaitable(result)
        if inspect.isawaitable(result):
            result = await result
        seconds, iterations = [time.perf_counter() - begin], 1
        if asked["seconds"] and seconds[0] < LONG_SECONDS:
            repeats = await _warm_up(work, is_async, asked["seconds"] / 3)
            seconds, iterations, spent = [], 0, 0.0
            cpu = time.process_time()
            while spent < asked["seconds"]:
                took = await _repeat(work, is_async, repeats)
                spent += took
                seconds.append(took / repeats)
                iterations += repeats
        return {
            "answer": _answer(result),
            "iterations": iterations,
            "seconds": statistics.median(seconds),
            "cpu_seconds": (time.process_time() - cpu) / iterations,
            "peak_mib": _peak_mib(),
        }


async def _warm_up(work: Work, is_async: bool, seconds: float) -> int:
    """Do it for so long; how often to repeat it between two looks at the clock."""
    repeats, spent = 1, 0.0
    while spent < seconds:
        took = await _repeat(work, is_async, repeats)
        spent += took
        if took < BLOCK_SECONDS:
            repeats *= 2
    return repeats


async def _repeat(work: Work, is_async: bool, times: int) -> float:
    """Seconds for all times together; each result is given up at once, which takes its time."""
    begin = time.perf_counter()
    if is_async:
        for _ in range(times):
            await cast(Awaitable[object], work())
    else:
        for _ in range(times):
            work()
    return time.perf_counter() - begin


def _answer(result: object) -> str:
    """The result as JSON; its hash where it is long."""
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    content = text.encode()
    return text if len(content) <= 500 else sha256(content).hexdigest()


def _peak_mib() -> float:
    """The most memory this process had; on Linux getrusage counts that of its parent, too."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text("ascii"))
        assert found
        return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    print(json.dumps(asyncio.run(time_case(json.loads(sys.argv[1])))))
