"""One contract on every runtime that the article names: what each keeps of it, and what it costs."""
