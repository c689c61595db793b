"""Client threads of a test: started and stopped together, the first failure of one is the test's.

Law: a client ends only at the end of its turn, so whatever it has begun is decided by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping


class Clients:
    """Threads that take their turn again and again.

    `turns` is name -> what a client does; `turn_s` how long that may take at the longest.
    """

    def __init__(
        self, turns: Mapping[str, Callable[[], None]], turn_s: float, logs: Callable[[], str]
    ) -> None:
        self._turn_s = turn_s
        self._logs = logs
        self._failures: list[BaseException] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(turn,), name=name)
            for name, turn in turns.items()
        ]

    def start(self) -> None:
        """Start all of them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until each has ended its turn."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(self._turn_s)
        assert not any(thread.is_alive() for thread in self._threads)

    def pause(self, seconds: float) -> None:
        """Have a client wait, but not once all are to stop."""
        self._stopping.wait(seconds)

    def check(self) -> None:
        """Raise what a client has failed with, with the logs."""
        for failure in self._failures:
            raise AssertionError(f"{failure!r}\n{self._logs()}") from failure

    def _run(self, turn: Callable[[], None]) -> None:
        try:
            while not self._stopping.is_set() and not self._failures:
                turn()
        except BaseException as error:
            self._failures.append(error)
