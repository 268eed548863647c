"""What the tests stand on: the wire, the client, the canonical answers, the services, the clauses.

- `wire`: HTTP/1.1 on a raw socket, for what a client library would tidy up.
- `client`: one target, asked through httpx or through `wire`.
- `expect`: the only place that knows the canonical user and the canonical problem.
- `services`: our two services as processes (`processes`: which end when the tests do).
- `tokens`: tokens as a service gives them, and as nobody should.
- `databases`: SQLite files and PostgreSQL servers, and connections of ours to them.
- `network`: a proxy between a service and PostgreSQL.
- `differential`: one request to all targets, and what may differ in the answers.
- `model`: the contract as a plain model of the users, for sequences of requests.
- `history`: whether what concurrent clients saw has an order.
- `load`: clients that create users without a pause.
- `browser`: Chromium, for pages.
- `progress`: how far a long run is.
- `verdict`: what a run says of each target, clause by clause.
- `clauses`: CONTRACT.md and the tests' markers, read as text.
"""
