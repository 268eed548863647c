"""The environment as it was at the start, for `settings` alone.

Libraries that would read it by themselves, each in its own way and some as they are imported, find
it empty. So this is imported first.
"""

import os
import sys
import warnings

# Our worker processes may need these to find the interpreter's own parts.
NEEDED = {"DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR"}

ENVIRONMENT = dict(os.environ)
# One without a name can't be deleted.
for _name in ENVIRONMENT.keys() - NEEDED - {""}:
    del os.environ[_name]

# PYTHONWARNINGS would have it read by the interpreter itself, further processes too (OPS-45).
sys.warnoptions.clear()
warnings.simplefilter("ignore")
