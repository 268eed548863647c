/** One request to an outside identity provider, for its one document. */

import http, { type IncomingMessage } from "node:http";
import https from "node:https";
import { createSecureContext, rootCertificates, type SecureContext } from "node:tls";

const TIMEOUT_SECONDS = 5;
const MAX_HEAD = 16384;
const MAX_DOCUMENT = 1048576;
// The only value that a field may have, if it is there.
const ENCODINGS = { "transfer-encoding": "chunked", "content-encoding": "identity" };
const ACCEPTED = "application/jwk-set+json, application/json";
// Of TLS 1.2 what RFC 9325, 4.2 recommends, and the like with ChaCha20: left to itself, each runtime
// takes some more. Without those of TLS 1.3 Node would not speak it.
const SUITES = [
  ...["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"],
  ...["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"],
  ...["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
  ...["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"],
].join(":");
// The parts of `AUTH_JWKS_URL` as `settings` lets it be; a fragment is nobody else's business.
const URL_PARTS = /^https?:\/\/((\[[^\]]+\]|[^:/]+)(?::([0-9]+))?)(\/[^#]*)?/;
const BRACKETS = /[[\]]/g;

/** The document can't be had; the message says why. */
export class ProviderError extends Error {}

/**
 * What verifies a server: by these certificates (PEM), or by those that Node brings along.
 *
 * @clauses AUTH-33, AUTH-36, HOOK-24
 */
export function tlsContext(certificates: string): SecureContext {
  // Not without `ca`: the environment has a say in what is trusted then.
  return createSecureContext({ ca: certificates || [...rootCertificates], ciphers: SUITES });
}

/** The body that a GET is answered with. Throws ProviderError. @clauses AUTH-31, AUTH-32 */
export async function fetchDocument(url: string, context: SecureContext | null): Promise<Buffer> {
  const [, authority = "", host = "", port, target = "/"] = URL_PARTS.exec(url) ?? [];
  // Not the global ones, in which the environment has a say: proxies, verification (AUTH-33).
  const agent = context
    ? new https.Agent({ secureContext: context, rejectUnauthorized: true })
    : new http.Agent();
  const signal = AbortSignal.timeout(TIMEOUT_SECONDS * 1000);
  const request = (context ? https : http).request({
    host: host.replace(BRACKETS, ""),
    port: port ?? (context ? 443 : 80),
    path: target,
    headers: { Host: authority, Accept: ACCEPTED, "User-Agent": "users", Connection: "close" },
    agent,
    maxHeaderSize: MAX_HEAD,
    signal,
  });
  // Node would leave out those beyond 2000.
  request.maxHeadersCount = 0;
  try {
    request.end();
    return await read(await answered(request));
  } catch (error) {
    const { message, name } = error as Error;
    throw new ProviderError(
      signal.aborted ? `not there within ${TIMEOUT_SECONDS} seconds` : message || name,
    );
  } finally {
    request.destroy();
  }
}

function answered(request: http.ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on("response", resolve);
    request.on("error", reject);
    // After an Upgrade that nobody wanted, that is all there is.
    request.on("close", () => reject(new ProviderError("the connection ended too early")));
  });
}

async function read(response: IncomingMessage): Promise<Buffer> {
  if (response.statusCode !== 200) {
    throw new ProviderError(`status ${response.statusCode}`);
  }
  for (const [name, only] of Object.entries(ENCODINGS)) {
    const value = response.headers[name] || only;
    if (String(value).toLowerCase() !== only) {
      throw new ProviderError(`${name} ${value}`);
    }
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_DOCUMENT) {
      throw new ProviderError(`more than ${MAX_DOCUMENT} bytes`);
    }
  }
  return Buffer.concat(chunks);
}
