"""Does the time of a failed login tell whether there is such a user? `make timing` measures it.

Both services run secured, with the costs of their defaults. In turn and in an order drawn at
random, logins fail for an email that is nobody's, for a user without a password, and for a wrong
password; of each kind the median counts, as a ratio to that of the wrong password.
"""

import argparse
import contextlib
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client

LIMIT = 0.10
DEFAULTS = {
    "ARGON2_MEMORY": "",
    "ARGON2_ITERATIONS": "",
    "LOGIN_FAILURES_PER_EMAIL": "1000",
    "LOGIN_FAILURES_PER_ADDRESS": "1000000",
}
WRONG = "a wrong password"
KINDS = ("wrong password", "unknown email", "no password")


def measured(api: Client, tries: int) -> dict[str, list[float]]:
    """Seconds of failed logins, so many of each kind."""
    emails = {
        "wrong password": api.create(password="a right password")["email"],
        "no password": api.create()["email"],
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(-10, tries):  # the first ones warm up
        for kind in random.sample(KINDS, len(KINDS)):
            email = emails.get(kind) or expect.unique_email()
            begin = time.perf_counter()
            answer = api.log_in(email, WRONG)
            took = time.perf_counter() - begin
            assert answer.status == 400, answer
            if number >= 0:
                seconds[kind].append(took)
    return seconds


def main() -> int:
    """Measure both; the exit code is 1 where a ratio is off by more than the limit."""
    parser = argparse.ArgumentParser(prog="make timing", description=__doc__.partition("\n")[0])
    parser.add_argument("--tries", type=int, default=200, help="logins of each kind")
    tries = parser.parse_args().tries
    code = 0
    with contextlib.ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for kind in services.KINDS:
            env = services.SECURED | DEFAULTS
            service = services.launch(kind, env=env, directory=room / kind)
            stack.callback(service.kill)
            seconds = measured(service.api, tries)
            base = statistics.median(seconds["wrong password"])
            for what in KINDS:
                middle = statistics.median(seconds[what])
                off = middle / base - 1
                code |= abs(off) >= LIMIT
                print(f"{kind:>6}  {what:<14}  {middle * 1000:7.2f} ms  {off:+7.1%}")
    return code


if __name__ == "__main__":
    sys.exit(main())
