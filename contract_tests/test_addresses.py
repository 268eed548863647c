"""LIMIT: which addresses a network of `TRUSTED_PROXIES` holds; a service shows only what follows."""

import json
import time

import pytest

from contract_tests.harness import services
from contract_tests.harness.services import KINDS, Kind

# Who sends a request, and how the address is written then.
PEERS = {
    "10.0.0.1": "10.0.0.1",
    "10.200.0.1": "10.200.0.1",
    "127.0.0.1": "127.0.0.1",
    "0.0.0.0": "0.0.0.0",
    "255.255.255.255": "255.255.255.255",
    "::ffff:10.0.0.1": "10.0.0.1",
    "::ffff:a00:1": "10.0.0.1",
    "::FFFF:127.0.0.1": "127.0.0.1",
    "0:0:0:0:0:ffff:0a00:0001": "10.0.0.1",
    "::": "::",
    "::1": "::1",
    "::10.0.0.1": "::a00:1",
    "64:ff9b::10.0.0.1": "64:ff9b::a00:1",
    "fd00::1": "fd00::1",
    "FD00:0:0:0:0:0:0:1": "fd00::1",
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
    "8000::1": "8000::1",
    "fe80::1%eth0": "fe80::1%eth0",
    "x": "x",
}
TENS = {"10.0.0.1", "10.200.0.1", "::ffff:10.0.0.1", "::ffff:a00:1", "0:0:0:0:0:ffff:0a00:0001"}
TEN = TENS - {"10.200.0.1"}
LOOPBACK = {"127.0.0.1", "::FFFF:127.0.0.1"}
IPV4 = {*TENS, *LOOPBACK, "0.0.0.0", "255.255.255.255"}
ALL = {*PEERS} - {"fe80::1%eth0", "x"}
SMALL = ALL - {"8000::1", "fd00::1", "FD00:0:0:0:0:0:0:1"}
ZEROS = {*IPV4, "::", "::1", "::10.0.0.1"}
FD = {"fd00::1", "FD00:0:0:0:0:0:0:1"}
DB8 = {"2001:db8:0:0:1:0:0:1", "2001:db8:0:1:1:1:1:1"}

# Each network, and the addresses in it.
NETWORKS: dict[str, set[str]] = {
    "10.0.0.0/8": TENS,
    "10.1.2.3/8": TENS,
    "10.0.0.0/08": TENS,
    "10.0.0.0/008": TENS,
    "10.0.0.0/9": TEN,
    "10.128.0.0/9": {"10.200.0.1"},
    "10.0.0.0/7": TENS,
    "11.0.0.0/7": TENS,
    "10.0.0.0/31": TEN,
    "10.0.0.255/24": TEN,
    "10.0.0.2/31": set(),
    "10.0.0.1": TEN,
    "10.0.0.1/32": TEN,
    "127.0.0.0/8": LOOPBACK,
    "0.0.0.0/0": IPV4,
    "1.2.3.4/0": IPV4,
    "0.0.0.0/1": IPV4 - {"255.255.255.255"},
    "128.0.0.0/1": {"255.255.255.255"},
    "0.0.0.0": {"0.0.0.0"},
    "255.255.255.255": {"255.255.255.255"},
    "::ffff:10.0.0.0/104": TENS,
    "::ffff:10.1.2.3/104": TENS,
    "::FFFF:10.0.0.0/104": TENS,
    "::ffff:a00:0/104": TENS,
    "0:0:0:0:0:ffff:10.0.0.0/104": TENS,
    "::ffff:10.0.0.0/105": TEN,
    "::ffff:10.0.0.1": TEN,
    "::ffff:a00:1": TEN,
    "::ffff:10.0.0.1/128": TEN,
    "::ffff:0:0/96": IPV4,
    "::ffff:1.2.3.4/96": IPV4,
    "::ffff:0:0/97": IPV4 - {"255.255.255.255"},
    "::fffe:0:0/95": IPV4,
    "::fffe:0:0/96": set(),
    "::ffff:0:0:0/96": set(),
    "::/0": ALL,
    "1::/0": ALL,
    "::/1": SMALL,
    "8000::/1": ALL - SMALL,
    "::/64": ZEROS,
    "::/80": ZEROS,
    "::/81": ZEROS - IPV4,
    "::/96": ZEROS - IPV4,
    "::/97": ZEROS - IPV4,
    "::/127": {"::", "::1"},
    "::/128": {"::"},
    "::": {"::"},
    "::1": {"::1"},
    "::1/128": {"::1"},
    "0:0:0:0:0:0:0:1": {"::1"},
    "::10.0.0.1": {"::10.0.0.1"},
    "::10.0.0.0/104": {"::10.0.0.1"},
    "64:ff9b::/96": {"64:ff9b::10.0.0.1"},
    "fd00::/8": FD,
    "FD00::/8": FD,
    "fd00::1": FD,
    "fc00::/7": FD,
    "fd00::/127": FD,
    "fd00::2/127": set(),
    "2001:db8::/32": DB8,
    "2001:db8::/31": DB8,
    "2001:db9::/31": DB8,
    "2001:db8::/33": DB8,
    "2001:db8::/63": DB8,
    "2001:db8::/64": {"2001:db8:0:0:1:0:0:1"},
    "2001:db8:0:1::/64": {"2001:db8:0:1:1:1:1:1"},
    "fe80::/10": set(),
}
NO_NETWORKS = [
    *["", "x", "1", "10", "10.", ".10", "10.0", "10.0.0", "10.0.0.", "1.2.3.4.5", "256.0.0.1"],
    *["010.0.0.1", "10.0.0.01", "0x7f.0.0.1", "1.2.3.4:80", "1.2.3.4/33", "1.2.3.4/128"],
    *["1.2.3.4/", "/8", "1.2.3.4/-1", "1.2.3.4/+1", "1.2.3.4/0008", "1.2.3.4/8/8", "1.2.3.4/x"],
    *["10.0.0.0/255.0.0.0", "1.2.3.4 /8", "1.2.3.4/ 8", " ", "\u0661.2.3.4", "1.2.3.4/\u0668"],
    *[":", ":::", ":1", "1:", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", ":1:2:3:4:5:6:7:8"],
    *["12345::1", "00001::1", "g::1", "[::1]", "::1%lo", "::1%25lo", "::1/129", "::1/0128", "::/"],
    *["::1.2.3", "::ffff:10.0.0", "::ffff:010.0.0.1", "::ffff:256.0.0.1", "::1.2.3.4:5"],
    *[
        "1:2:3:4:5:6:7:1.2.3.4",
        "::ffff:10.0.0.0/129",
        "1.2.3.4::",
        "localhost",
        "10.0.0.0-10.0.0.9",
    ],
]

# Whose address counts for each of these peers, if it is in the network: the one that is forwarded.
READ: dict[Kind, str] = {
    "python": """
import json, sys
from python_api.http.addresses import client_address, parse_networks

networks, peers = json.loads(sys.argv[1])
for network in networks:
    try:
        trusted = parse_networks([network])
        print(json.dumps([client_address(peer, "192.0.2.9", trusted) for peer in peers]))
    except ValueError:
        print("null")
""",
    "node": """
import { clientAddress, parseNetworks } from "./src/http/addresses.ts";

const [networks, peers] = JSON.parse(process.argv[1]);
for (const network of networks) {
  try {
    const trusted = parseNetworks([network]);
    console.log(JSON.stringify(peers.map((peer) => clientAddress(peer, "192.0.2.9", trusted))));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    console.log("null");
  }
}
""",
}


@pytest.mark.clause("LIMIT-20", "LIMIT-08")
@pytest.mark.parametrize("kind", KINDS)
def test_which_addresses_a_network_holds(kind: Kind) -> None:
    texts = [*NETWORKS, *NO_NETWORKS]
    printed = services.run_code(READ, kind, json.dumps([texts, [*PEERS]]))
    results = [json.loads(line) for line in printed.splitlines()]
    expected = [
        ["192.0.2.9" if peer in held else shown for peer, shown in PEERS.items()]
        for held in NETWORKS.values()
    ]
    wrong = [
        f"{text}: {result}"
        for text, result, right in zip(
            texts, results, [*expected, *([None] * len(NO_NETWORKS))], strict=True
        )
        if result != right
    ]
    assert wrong == []


# Whose address counts behind 127.0.0.1, for each of these values of X-Forwarded-For.
FORWARDED: dict[Kind, str] = {
    "python": """
import json, sys
from python_api.http.addresses import client_address, parse_networks

trusted = parse_networks(["127.0.0.1"])
for forwarded in json.loads(sys.stdin.read()):
    print(client_address("127.0.0.1", forwarded, trusted))
""",
    "node": """
import { readFileSync } from "node:fs";
import { clientAddress, parseNetworks } from "./src/http/addresses.ts";

const trusted = parseNetworks(["127.0.0.1"]);
for (const forwarded of JSON.parse(readFileSync(0))) {
  console.log(clientAddress("127.0.0.1", forwarded, trusted));
}
""",
}
SPACES = " \t" * 200_000
HOPS: list[tuple[str, str]] = [
    (" 192.0.2.1", "192.0.2.1"),
    ("192.0.2.1 ", "192.0.2.1"),
    ("\t192.0.2.1\t ", "192.0.2.1"),
    ("192.0.2.2,192.0.2.1", "192.0.2.1"),
    ("192.0.2.2, 192.0.2.1", "192.0.2.1"),
    ("192.0.2.1 ,\t127.0.0.1 , ::ffff:127.0.0.1", "192.0.2.1"),
    ("192.0.2.2, 192.0.2.1 x", "127.0.0.1"),
    ("192.0.2.2, 192.0.2.1 192.0.2.3", "127.0.0.1"),
    ("192.0.2.2, ", "127.0.0.1"),
    ("192.0.2.2,", "127.0.0.1"),
    ("192.0.2.2\u00a0", "127.0.0.1"),
    ("192.0.2.2:80", "127.0.0.1"),
    ("[::1]", "127.0.0.1"),
    ("for=192.0.2.2", "127.0.0.1"),
    # A pattern that tries each of the spaces again takes minutes.
    (f"192.0.2.1{SPACES}", "192.0.2.1"),
    (f"{SPACES}192.0.2.1", "192.0.2.1"),
    (f"x{SPACES}x", "127.0.0.1"),
    (f"1{SPACES}1", "127.0.0.1"),
    (f"192.0.2.1,{SPACES}x{SPACES}", "127.0.0.1"),
    (":" * 400_000, "127.0.0.1"),
    ("1." * 200_000, "127.0.0.1"),
    ("," * 400_000, "127.0.0.1"),
]


@pytest.mark.clause("LIMIT-08")
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_forwarded_is_read_once(kind: Kind) -> None:
    process = services.start_code(FORWARDED, kind)
    begun = time.monotonic()
    printed, _ = process.communicate(json.dumps([forwarded for forwarded, _ in HOPS]), timeout=300)
    assert printed.splitlines() == [address for _, address in HOPS]
    assert time.monotonic() - begun < 30
