"""Settings that hold for every test and for the processes tests start.

They are environment variables because JAX reads those when it is first imported, wherever that is:
tests that never touch JAX do not pay for importing it.
"""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")
