"""`python -m python_api`: the imports, then `main`."""

import gc
import os
import sys

# A stream that is closed is given to the next file that is opened, and the log would be written into
# that one. Node sees to this by itself (LOG-05).
for number in range(3):
    try:
        os.fstat(number)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)

# With a locale that isn't UTF-8, Python would decode settings and names of files by it (OPS-45).
if sys.getfilesystemencoding() != "utf-8":
    os.execv(sys.executable, [sys.orig_argv[0], "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606

# Imports leave nothing to collect, and looking for it takes a fifth of the start.
gc.disable()

# First: no library that is imported may read it (OPS-45).
import python_api.environment  # noqa: E402, F401
from python_api.main import main  # noqa: E402

gc.freeze()
gc.enable()
main()
