"""Work for the processor: integers, floats, strings, hashes; and the same four times at once."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from hashlib import sha256

from benchmarks.article.case import Case, Given, Work

# Its chain rises above 2 ** 31.
LARGE = 113_383
STEPS = 50
WORKERS = 4


def longest_chain(count: int, first: int = 1) -> list[int]:
    """Of so many numbers the one that takes the most steps of Collatz to 1, and those steps."""
    longest = [0, 0]
    for start in range(first, first + count):
        number, steps = start, 0
        while number != 1:
            number = number // 2 if number % 2 == 0 else 3 * number + 1
            steps += 1
        if steps > longest[1]:
            longest = [start, steps]
    return longest


def mandelbrot(size: int) -> int:
    """How many points of a grid are in the Mandelbrot set, as far as some steps can tell."""
    inside = 0
    for row in range(size):
        for column in range(size):
            if _stays(3 * column / size - 2, 3 * row / size - 1.5):
                inside += 1
    return inside


def _stays(real: float, imaginary: float) -> bool:
    x, y = 0.0, 0.0
    for _ in range(STEPS):
        if x * x + y * y > 4:
            return False
        x, y = x * x - y * y + real, 2 * x * y + imaginary
    return True


def write_text(words: int) -> str:
    return " ".join(f"word{number * number % 977}" for number in range(words))


def count_words(text: str) -> list[tuple[str, int]]:
    """The ten most frequent words; of equals, the one that comes first."""
    return Counter(text.split()).most_common(10)


def hash_repeatedly(times: int) -> str:
    """A hash of a hash of a hash."""
    digest = ""
    for _ in range(times):
        digest = sha256(digest.encode()).hexdigest()
    return digest


def in_turn(counts: Sequence[int]) -> list[list[int]]:
    return [longest_chain(count) for count in counts]


def in_threads(pool: ThreadPoolExecutor, counts: Sequence[int]) -> list[list[int]]:
    """No faster than in turn where Python has its global lock: one thread at a time holds it."""
    return list(pool.map(longest_chain, counts))


def in_processes(pool: ProcessPoolExecutor, counts: Sequence[int]) -> list[list[int]]:
    return list(pool.map(longest_chain, counts))


def _threads(given: Given) -> Work:
    pool = given.stack.enter_context(ThreadPoolExecutor(WORKERS))
    return lambda: in_threads(pool, [given.size] * WORKERS)


def _processes(given: Given) -> Work:
    pool = given.stack.enter_context(ProcessPoolExecutor(WORKERS))
    return lambda: in_processes(pool, [given.size] * WORKERS)


CASES: dict[str, Case] = {
    "integers": lambda given: lambda: longest_chain(given.size),
    "large integers": lambda given: lambda: longest_chain(given.size, LARGE),
    "floats": lambda given: lambda: mandelbrot(given.size),
    "strings": lambda given: lambda: count_words(write_text(given.size)),
    "hashes": lambda given: lambda: hash_repeatedly(given.size),
    "in turn": lambda given: lambda: in_turn([given.size] * WORKERS),
    "in threads": _threads,
    "in processes": _processes,
}
