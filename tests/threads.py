"""One thread a process, for tests and for the programs that they start.

Loaded by `conftest.py` before anything imports torch. Tests run in as many processes as there are cores, and two that
compute with two threads each on two cores spend most of their time waiting for each other: four times the work of one
thread each, measured on tests/test_train_tasks.py. Those that are about threads set their number themselves.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
