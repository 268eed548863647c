"""Mutants: what the contract forbids, planted one fault at a time, to see that a test minds.

    python -m contract_tests.mutants                      all of them, on both services
    python -m contract_tests.mutants --only latin_1       one, with what each test said
    python -m contract_tests.mutants --leave-one-out      also: who would live without which file
    python -m contract_tests.mutants --control            none: what minds all the same?

- `exchange`: a request and its answer as the faults see them.
- `wire`: faults on the wire, each a small function.
- `definitions`: where a definition stands in a source file.
- `inside`: faults inside the services, each a patch to a copy of their code.
- `proxy`: the proxy that plants the former, a process of its own.
- `side`: one service's run: pytest, once, over all tests that the mutants' clauses name.

Nothing of this is known to the services: the copies are made of what is shipped, when it is run.
"""
