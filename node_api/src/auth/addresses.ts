/** Addresses: where a request comes from. */

import { BlockList, isIPv4, isIPv6 } from "node:net";
import { trim } from "../users/schemas.ts";

const NETWORK = /^([0-9A-Fa-f.:]+)(?:\/([0-9]{1,3}))?$/;
const ADDRESS = /^[0-9A-Fa-f.:]+$/;
const MAPPED = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;

/** Some networks; Node's class for addresses to block serves to know any. */
export type Networks = BlockList;

/** The networks that these are, `10.0.0.0/8` or a single address. Throws RangeError. */
export function parseNetworks(texts: readonly string[]): Networks {
  const networks = new BlockList();
  for (const text of texts) {
    const [, address = "", length] = NETWORK.exec(text) ?? [];
    const bits = isIPv4(address) ? 32 : 128;
    if (!(isIPv4(address) || isIPv6(address)) || Number(length ?? bits) > bits) {
      throw new RangeError(text);
    }
    networks.addSubnet(address, Number(length ?? bits), family(address));
  }
  return networks;
}

// LIMIT-07, LIMIT-08
/**
 * The address that a request comes from, in canonical form.
 *
 * That is the one at the other end of the connection, unless it is a trusted proxy's: then it is
 * the last one in `X-Forwarded-For`, of which these are the lines, that isn't.
 */
export function clientAddress(
  peer: string,
  forwarded: readonly string[],
  trusted: Networks,
): string {
  const hops = forwarded.flatMap((line) => line.split(","));
  let address = canonical(peer);
  while (address && hops.length > 0 && trusted.check(address, family(address))) {
    const before = canonical(trim(hops.pop() ?? "", " \t"));
    if (before === null) {
      break;
    }
    address = before;
  }
  return address ?? peer;
}

function canonical(text: string): string | null {
  if (!ADDRESS.test(text) || isIPv4(text)) {
    return isIPv4(text) ? text : null;
  }
  if (!isIPv6(text)) {
    return null;
  }
  // Of all there is in Node, only URLs write an address as RFC 5952 has it.
  const address = new URL(`http://[${text}]`).hostname.slice(1, -1);
  // A socket that takes both families shows an IPv4 address as an IPv6 one.
  const [, high, low] = MAPPED.exec(address) ?? [];
  if (high === undefined || low === undefined) {
    return address;
  }
  const [upper, lower] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return [upper >> 8, upper & 255, lower >> 8, lower & 255].join(".");
}

function family(address: string): "ipv4" | "ipv6" {
  return isIPv4(address) ? "ipv4" : "ipv6";
}
