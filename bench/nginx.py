"""nginx as a cache in front of a frontend: one worker, everything off that costs time.

It has a page of its own, the plainest one with a stylesheet, to stand beside the shop's.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.children import running
from bench.machine import program
from bench.ports import answers, free_port

MEMORY = "/dev/shm"
PLAIN = "/plain"

CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; multi_accept on; }}
http {{
  access_log off;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  open_file_cache max=10000 inactive=1h;
  open_file_cache_valid 1h;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=books:16m inactive=1h use_temp_path=off;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location = {plain} {{
      default_type text/html;
      return 200 '<!doctype html><html lang="en"><title>Plain</title>
        <link rel="stylesheet" href="{plain}.css"><h1>Books</h1><p>One heading, one line.</p>';
    }}
    location = {plain}.css {{
      default_type text/css;
      return 200 'body {{ font-family: sans-serif; }} h1 {{ font-family: serif; }}';
    }}
    location / {{
      proxy_pass {upstream};
      proxy_cache books;
      proxy_cache_valid 200 1h;
      proxy_ignore_headers Cache-Control Expires;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx; `worker` is the process that answers."""

    url: str
    worker: int


@contextmanager
def nginx(upstream: str, folder: Path) -> Iterator[Nginx]:
    """Run nginx with its cache in memory; it keeps for an hour what `upstream` answered."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bazar-bench-", dir=MEMORY) as shared:
        config = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""  # the worker is to write the cache
        text = CONFIG.format(user=user, folder=shared, port=port, upstream=upstream, plain=PLAIN)
        config.write_text(text, "ascii")
        command = [program("nginx"), "-p", shared, "-c", str(config), "-e", "stderr"]
        with running(command, folder / "nginx.log", end=signal.SIGTERM) as master:
            url = f"http://127.0.0.1:{port}"
            answers(url + "/livez", folder / "nginx.log")
            yield Nginx(url, _children(master.pid)[0])


def _children(pid: int) -> list[int]:
    """Return the workers of a master; the cache manager and loader have longer titles."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    titles = {int(one): Path(f"/proc/{one}/cmdline").read_text() for one in pids}
    return [one for one, title in titles.items() if "worker" in title]
