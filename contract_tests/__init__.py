"""The contract suite: proves over HTTP that every target keeps CONTRACT.md."""
