"""The command of each server that the services are measured against."""

import sys

from contract_tests.harness.services import node

NAMES = ("bare.py", "plain.py", "observed.py", "bare.ts", "plain.ts", "observed.ts", "express.ts")
# What stands beside the streams of ours.
STREAMED = ("streamed.py", "streamed.ts")


def command(name: str) -> list[str]:
    """The command that starts a peer, from the root of the repository."""
    if name.endswith(".py"):
        return [sys.executable, "-m", f"benchmarks.peers.{name.removesuffix('.py')}"]
    # As node_api starts.
    return [node(), "--max-semi-space-size=8", f"benchmarks/peers/{name}"]
