/** The networks that a webhook may lead to. */

import { isIn, type Networks, parseAddress, parseNetworks } from "../http/addresses.ts";

// IPv4's lie in the first (LIMIT-20).
const PUBLIC = parseNetworks(["::ffff:0:0/96", "2000::/3"]);
// IANA's special-purpose registries (RFC 6890), without what is globally reachable all the same.
const SPECIAL = parseNetworks([
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "3fff::/20",
]);

/**
 * Whether an endpoint may be called at this address, with TLS or without.
 *
 * `allowed` are the networks that are allowed although they aren't public.
 *
 * @clauses HOOK-22
 */
export function mayCall(text: string, isSecure: boolean, allowed: Networks): boolean {
  const address = parseAddress(text);
  if (address === null) {
    return false;
  }
  const isPublic = isIn(address, PUBLIC) && !isIn(address, SPECIAL);
  return isIn(address, allowed) || (isSecure && isPublic);
}
