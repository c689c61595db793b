"""Loaded by the nodes of a chaos run: a `time.sleep` that libfaketime 0.9.10 does not break.

With FAKETIME_DONT_FAKE_MONOTONIC it shifts the absolute deadlines of clock_nanosleep nevertheless,
and Python's own `time.sleep` fails with EINVAL. `select` takes durations, which it leaves alone.
"""

import select
import time

time.sleep = lambda seconds: select.select([], [], [], seconds)
