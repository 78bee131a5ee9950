"""The ports of a service on one machine: those of its settings, and those that it finds for itself."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import psutil

from gaelp_ray.cli import homes, processes
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError

#: Below those that systems give to clients, so that nobody is given one between its choice and its use.
_SPARE_PORTS = range(10_000, 20_000)
#: Each replica's own server takes one; that many of them and of those that replace them fit into one block.
_REPLICA_PORTS = 200
_EVERYWHERE = ""
#: What the usual service on a machine takes; a variable of Ray's for each.
_PREFERRED = {
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": 9500,
    "AUTOSCALER_METRIC_PORT": 44217,
    "DASHBOARD_METRIC_PORT": 44227,
}
AGENT = "dashboard-agent"


class Port(NamedTuple):
    setting: str
    host: str
    number: int


def of_api(settings: Settings) -> Port:
    return Port("GAELP_PORT", settings.host, settings.port)


def of_ray(settings: Settings) -> tuple[Port, ...]:
    """Those of the settings that a head opens; where it listens, no setting changes."""
    return (
        Port("GAELP_RAY_PORT", _EVERYWHERE, settings.ray_port),
        Port("GAELP_DASHBOARD_PORT", "127.0.0.1", settings.dashboard_port),
        Port("GAELP_METRICS_PORT", _EVERYWHERE, settings.metrics_port),
        Port("GAELP_RAY_CLIENT_PORT", _EVERYWHERE, settings.ray_client_port),
    )


def check(ports: Iterable[Port]) -> None:
    """Raise ``SetupError`` for the first that cannot be had, naming who has it and the setting."""
    for port in ports:
        try:
            _bind(port.host, port.number)
        except OSError as error:
            raise SetupError(_refusal(port, error)) from None


def _refusal(port: Port, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        who = listener(port.number)
        by = f" by {who}" if who else ""
        return f"Port {port.number} is in use{by}; stop what uses it or set {port.setting}."
    if error.errno == errno.EACCES:
        return f"Port {port.number} is for root only; set {port.setting} to one above 1023."
    return f"This machine cannot listen on {port.host!r}: {homes.reason(error)}; set GAELP_HOST."


def listener(number: int) -> str | None:
    """Who listens on a port, as far as this user may know: ``nginx (process 17)``."""
    with contextlib.suppress(psutil.Error, OSError):
        for found in psutil.net_connections("tcp"):
            if found.pid and _listens(found, number):
                return _described(psutil.Process(found.pid))
    return None


def _described(process: psutil.Process) -> str:
    service = None
    with contextlib.suppress(psutil.Error):
        service = process.environ().get(processes.HEAD)
    return f"{f'the gaelp service of {service}' if service else process.name()} (process {process.pid})"


def is_listened_by(number: int, pids: Collection[int]) -> bool:
    """Whether one of these processes listens on a port."""
    for pid in pids:
        with contextlib.suppress(psutil.Error, OSError):
            if any(_listens(found, number) for found in psutil.Process(pid).net_connections("tcp")):
                return True
    return False


def _listens(found: Any, number: int) -> bool:
    return bool(found.status == psutil.CONN_LISTEN and found.laddr.port == number)


def choose(settings: Settings) -> dict[str, str]:
    """Ports for what no setting names, as variables that Ray reads and ``AGENT``.

    Free, apart from those of the settings and from each other. The usual service on a machine gets the usual
    ones; others get some that are theirs by chance.
    """
    taken = {of_api(settings).number, *(port.number for port in of_ray(settings))}
    chosen: dict[str, str] = {}
    for name, preferred in (_PREFERRED | {AGENT: 52365}).items():
        port = free_port(preferred, settings, taken)
        taken.add(port)
        chosen[name] = str(port)
    first = _replica_block(settings, taken)
    return chosen | {
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + _REPLICA_PORTS - 1),
    }


def free_port(preferred: int, settings: Settings, taken: Iterable[int] = ()) -> int:
    """``preferred`` for the service on the usual port, else one by chance; another if it is taken."""
    candidates = _chance(settings, preferred).sample(_SPARE_PORTS, 100)
    for port in (*([preferred] if is_usual(settings) else []), *candidates):
        if port not in taken and _is_free(port):
            return port
    raise SetupError("This machine has no free port left.")


def is_usual(settings: Settings) -> bool:
    return bool(settings.port == Settings.model_fields["port"].default)


def _replica_block(settings: Settings, taken: Iterable[int]) -> int:
    """The first of a row of ports for replicas: one service must never be sent what is for another's."""
    blocks = range(_SPARE_PORTS.start, _SPARE_PORTS.stop, _REPLICA_PORTS)
    candidates = _chance(settings, 30_000).sample(blocks, len(blocks))
    for first in (*([30_000] if is_usual(settings) else []), *candidates):
        block = range(first, first + _REPLICA_PORTS)
        if not any(port in block for port in taken) and all(map(_is_free, block)):
            return first
    raise SetupError("This machine has no row of free ports left.")


def _chance(settings: Settings, salt: int) -> random.Random:
    # Chance spreads services over the machine; it keeps no secret.
    return random.Random(f"{settings.port}/{salt}")  # noqa: S311


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError):
        _bind(_EVERYWHERE, port)
        return True
    return False


def _bind(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
