/** What the readers of the token endpoint don't say of it in the OpenAPI document. */

import { content, headers, type Piece } from "../http/openapi.ts";
import { ERRORS, GRANT_TYPE } from "./grants.ts";

const TOKEN_REQUEST_SCHEMA = {
  type: "object",
  description: "The resource owner password credentials grant (RFC 6749, 4.3.2).",
  properties: {
    grant_type: { type: "string", enum: [GRANT_TYPE] },
    username: { type: "string", minLength: 1, description: "The user's email." },
    password: { type: "string", minLength: 1 },
  },
  required: ["grant_type", "username", "password"],
};
const TOKEN_SCHEMA = {
  type: "object",
  description: "An access token (RFC 6749, 5.1).",
  properties: {
    access_token: { type: "string" },
    token_type: { type: "string", enum: ["Bearer"] },
    expires_in: { type: "integer", minimum: 1, description: "Seconds." },
  },
  required: ["access_token", "token_type", "expires_in"],
  additionalProperties: false,
};
const TOKEN_ERROR_SCHEMA = {
  type: "object",
  description: "Why there is no token (RFC 6749, 5.2).",
  properties: {
    error: { type: "string", enum: Object.keys(ERRORS) },
    error_description: { type: "string" },
  },
  required: ["error", "error_description"],
  additionalProperties: false,
};
export const SCHEMAS = {
  Token: TOKEN_SCHEMA,
  TokenError: TOKEN_ERROR_SCHEMA,
  TokenRequest: TOKEN_REQUEST_SCHEMA,
};

export const FORM = {
  grant_type: GRANT_TYPE,
  username: "ada@example.com",
  password: "correct horse battery staple",
};
const TOKEN = { access_token: "eyJhbGciOi...", token_type: "Bearer", expires_in: 900 };
const TOKEN_ERROR = {
  error: "unsupported_grant_type",
  error_description: ERRORS.unsupported_grant_type,
};

export const CREATE_TOKEN: Piece = {
  operationId: "createToken",
  summary: "Log in",
  description: "Gives a bearer token for an email and a password, unless the service runs open.",
  security: [],
  responses: {
    "200": {
      description: "The token.",
      headers: headers(),
      content: content({ $ref: "#/components/schemas/Token" }, TOKEN),
    },
    // Of what is wrong with the request itself, some is told as RFC 6749 has it.
    "400": {
      description: "A problem, or why there is no token.",
      headers: headers(),
      content: content({ $ref: "#/components/schemas/TokenError" }, TOKEN_ERROR),
    },
  },
  "x-problems": ["too-many-failures", "unavailable", "overloaded"],
};
