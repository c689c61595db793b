"""Puts the control room together: its tabs in their order."""

from __future__ import annotations

import threading

from flask import Flask

from common.clock import Clock
from frontend.cluster import Cluster
from frontend.control.login import Login
from frontend.control.overview import Overview
from frontend.control.room import Room


def add_control_room(app: Flask, *, node: str, token: str, clock: Clock, cluster: Cluster) -> None:
    """Give an app the control room."""
    room = Room(app, Login(token, clock=clock, lock=threading.Lock()), node)
    Overview(cluster).register(room)
