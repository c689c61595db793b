"""A service that does nothing of use, to try `common.serve` with: echoes, holds requests, fails.

Run as `python -m tests.support.toy --node catalog-1 --config FILE`. Files in its data folder tell
it what to do: `refuse` to start, `free` the requests it holds, `break` its loop. It keeps a `diary`
there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, Response, request

from common.config import Settings
from common.errors import Problem
from common.serve import main
from common.service import Lane, Service, StartRefused, Ticker
from common.tasks import Event, Tasks
from common.web import json_answer, problem_response, raw_target

HOLD_S = 30
TICK_S = 0.02
LANES = {
    "fast": Lane(workers=2, waiting_max=16, body_bytes_max=64 * 1024),
    "slow": Lane(workers=2, waiting_max=1, body_bytes_max=1024),
}


class Toy:
    """What the routes share."""

    def __init__(self, tasks: Tasks, folder: Path) -> None:
        self.free = tasks.event()
        self.stopping: Event = tasks.event()
        self.held: list[str] = []
        self.ticks = 0
        self._folder = folder

    def note(self, what: str) -> None:
        """Write down that something happened."""
        with (self._folder / "diary").open("a") as diary:
            diary.write(f"{what}\n")

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == 1:
            raise RuntimeError("the first tick always fails")

    def loop(self) -> None:
        self.note("loop runs")
        while not self.stopping.wait(TICK_S):
            if (self._folder / "free").exists():
                self.free.set()
            if (self._folder / "break").exists():
                raise RuntimeError("the loop was told to break")
        self.note("loop ended")

    def stop(self) -> None:
        self.note("stop")
        self.stopping.set()


def create_app(
    settings: Settings, *, clock: object, http: object, tasks: Tasks, random: object
) -> Flask:
    """Build the toy."""
    if (settings.data_dir / "refuse").exists():
        raise StartRefused("this disk is not usable")
    app, toy = Flask("toy"), Toy(tasks, settings.data_dir)
    app.register_error_handler(Problem, problem_response)
    _add_routes(app, toy)
    app.extensions["bazar"] = Service(
        flask=app,
        lanes=LANES,
        lane_of=lambda method, path: "slow" if path.startswith("/hold/") else "fast",
        tickers=(Ticker("ticker", TICK_S, toy.tick),),
        loops={"loop": toy.loop},
        stop=toy.stop,
        close=lambda: toy.note("close"),
    )
    return app


def _add_routes(app: Flask, toy: Toy) -> None:
    @app.route("/echo", methods=["GET", "POST"], defaults={"path": ""})
    @app.route("/echo/<path:path>", methods=["GET", "POST"])
    def echo(path: str) -> Response:
        return json_answer(
            {
                "path": path,
                "target": raw_target(),
                "body": request.get_data().decode(),
                "headers": dict(request.headers),
                "remote": request.remote_addr,
            }
        )

    @app.get("/hold/<name>")
    def hold(name: str) -> dict[str, str]:
        toy.held.append(name)
        toy.free.wait(HOLD_S)
        toy.note(f"answered {name}")
        return {"held": name}

    @app.get("/state")
    def state() -> dict[str, Any]:
        return {"held": toy.held, "ticks": toy.ticks}

    @app.route("/escape", methods=["GET", "POST"])
    def escape() -> Response:
        raise RuntimeError("nobody foresaw this")

    app.config["PROPAGATE_EXCEPTIONS"] = True  # so that it leaves Flask


if __name__ == "__main__":
    raise SystemExit(main("catalog", create_app))
