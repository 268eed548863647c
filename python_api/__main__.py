"""`python -m python_api`: the imports, then `main`."""

import gc

# Imports leave nothing to collect, and looking for it takes a fifth of the start.
gc.disable()

from python_api.main import main  # noqa: E402

gc.freeze()
gc.enable()
main()
