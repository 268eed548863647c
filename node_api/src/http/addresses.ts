/** Addresses and networks: where a request comes from, and in which networks an address lies. */

import { BlockList, isIPv4, isIPv6 } from "node:net";
import { trim } from "./requests.ts";

const NETWORK = /^([0-9A-Fa-f.:]+)(?:\/([0-9]{1,3}))?$/;
const ADDRESS = /^[0-9A-Fa-f.:]+$/;
const MAPPED_ADDRESS = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;

// IPv4's lie in ::ffff:0:0/96 (LIMIT-20).
const MAPPED = "::ffff:";
const MAPPED_LENGTH = 96;

/** Some networks; Node's class for addresses to block serves to know any. Null for none. */
export type Networks = BlockList | null;

/**
 * The networks that these are, `10.0.0.0/8` or a single address. Throws RangeError.
 *
 * @clauses LIMIT-20
 */
export function parseNetworks(texts: readonly string[]): Networks {
  if (texts.length === 0) {
    return null;
  }
  const networks = new BlockList();
  for (const text of texts) {
    const [, address = "", length] = NETWORK.exec(text) ?? [];
    const [mapped, bits] = isIPv4(address)
      ? [MAPPED + address, MAPPED_LENGTH + Number(length ?? 32)]
      : [address, Number(length ?? 128)];
    if (!isIPv6(mapped) || bits > 128) {
      throw new RangeError(text);
    }
    networks.addSubnet(mapped, bits, "ipv6");
  }
  return networks;
}

/** The networks that `JSON.stringify` has written, as `Subnet: IPv6 ::ffff:10.0.0.0/104`. */
export function networksAgain(written: readonly string[] | null): Networks {
  // Node's own `fromJSON` passes over those of IPv4 in IPv6.
  return parseNetworks((written ?? []).map((one) => one.replace("Subnet: IPv6 ", "")));
}

/**
 * The address that a request comes from, in canonical form.
 *
 * That is the one at the other end of the connection, unless it is a trusted proxy's: then it is
 * the last one in `forwarded`, its `X-Forwarded-For`, that isn't.
 *
 * @clauses LIMIT-07, LIMIT-08
 */
export function clientAddress(peer: string, forwarded: string, trusted: Networks): string {
  const hops = forwarded.split(",");
  let address = parseAddress(peer);
  while (address && hops.length > 0 && isIn(address, trusted)) {
    const before = parseAddress(trim(hops.pop() ?? "", " \t"));
    if (before === null) {
      break;
    }
    address = before;
  }
  return address ?? peer;
}

/** Whether the address is in one of these networks. @clauses LIMIT-20 */
export function isIn(address: string, networks: Networks): boolean {
  return networks?.check(isIPv4(address) ? MAPPED + address : address, "ipv6") ?? false;
}

/**
 * The address in canonical form, if it is one; of an IPv4 address in IPv6 (`::ffff:7f00:1`) that
 * one.
 */
export function parseAddress(text: string): string | null {
  if (!ADDRESS.test(text) || isIPv4(text)) {
    return isIPv4(text) ? text : null;
  }
  if (!isIPv6(text)) {
    return null;
  }
  // Of all there is in Node, only URLs write an address as RFC 5952 has it.
  const address = new URL(`http://[${text}]`).hostname.slice(1, -1);
  // A socket that takes both families shows an IPv4 address as an IPv6 one.
  const [, high, low] = MAPPED_ADDRESS.exec(address) ?? [];
  if (high === undefined || low === undefined) {
    return address;
  }
  const [upper, lower] = [Number.parseInt(high, 16), Number.parseInt(low, 16)];
  return [upper >> 8, upper & 255, lower >> 8, lower & 255].join(".");
}
