"""`python -m python_api`: the imports, then `main`."""

import gc
import os
import sys

# LOG-05
# A stream that is closed is given to the next file that is opened, and the log would be written into
# that one. Node sees to this by itself.
for number in range(3):
    try:
        os.fstat(number)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)

# OPS-45
# With a locale that isn't UTF-8, Python would decode settings and names of files by it.
if sys.getfilesystemencoding() != "utf-8":
    os.execv(sys.executable, [sys.orig_argv[0], "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606

# Imports leave nothing to collect, and looking for it takes a fifth of the start.
gc.disable()

# OPS-45
# First: no library that is imported may read it.
import python_api.environment  # noqa: E402, F401
from python_api.main import main  # noqa: E402

gc.freeze()
gc.enable()
main()
