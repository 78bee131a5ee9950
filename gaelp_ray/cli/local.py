"""`gaelp up`, `down`, `status`, `migrate`: the service on this machine."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import typer
from rich.table import Table
from rich.text import Text

from gaelp_ray.cli.output import err, out
from gaelp_ray.cli.steps import Steps
from gaelp_ray.client.address import local_url
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError
from gaelp_ray.domain.resources import parse_quantity


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(migrate)


def up(
    address: Annotated[
        str | None, typer.Option(help="Join this running Ray cluster instead of starting one.")
    ] = None,
) -> None:
    """Start the service: database, Ray, actors and API. Doing it twice is harmless.

    What runs already stays, what has died is started again. If it fails or is interrupted, nothing of what it
    started is left.
    """
    settings = Settings()
    start(settings, address=address)
    for name, url in urls(settings).items():
        _print_link(name, url)
    _print_link("Token", str(settings.data_dir / "token"))


def down() -> None:
    """Stop what `gaelp up` started. Data stays; at the next `up` jobs go on from their checkpoints."""
    stop(Settings())
    out.print("gaelp is down.")


def status() -> None:
    """Show what runs; exit 0 only if every part does."""
    from gaelp_ray.cli import machine  # noqa: PLC0415 - keeps `gaelp --help` quick

    settings = Settings()
    parts = machine.parts(settings)
    if not parts:
        raise SetupError(_not_up(settings))
    table = Table("What", "Value")
    for part, lives in parts.items():
        table.add_row(part, "up" if lives else Text("down", style="red"))
    if parts["API"]:
        _add_figures(table, _ask_status(settings))
    out.print(table)
    for name, url in urls(settings).items():
        _print_link(name, url)
    dead = [part for part, lives in parts.items() if not lives]
    if dead:
        raise SetupError(f"Down: {', '.join(dead)}. `gaelp up` starts again what is down.")


def _not_up(settings: Settings) -> str:
    """Says what else answers on the port, which is easily taken for the service of this folder."""
    other = f" Another service answers at {base_url(settings)}." if is_up(settings) else ""
    return f"gaelp is not up in {settings.data_dir}; start it with `gaelp up`.{other}"


def _add_figures(table: Table, found: dict[str, Any]) -> None:
    cluster, scheduler = found["cluster"], found["scheduler"]
    table.add_row("nodes", str(cluster["nodes"]))
    for name in ("cpu", "memory", "gpu"):
        claimed, total = (_readable(name, cluster[part][name]) for part in ("claimed", "total"))
        table.add_row(name, f"{claimed} of {total} claimed")
    for name, count in found["jobs"].items():
        table.add_row(f"jobs {name}", str(count))
    table.add_row("agents", str(found["agents"]["total"]))
    table.add_row("scheduler", f"epoch {scheduler['epoch']}" if scheduler["leading"] else "not leading")
    for duty, count in found.get("set_aside", {}).items():
        table.add_row(f"set aside by {duty}", str(count))
    for each in found.get("failures", ()):
        words = f"{each['item']}: {each['error']}"
        table.add_row(Text(f"{each['duty']} failed"), Text(f"{words} ({each['last_at'][:19]})"))


def _readable(name: str, quantity: str) -> str:
    """Bytes in GiB: a node's memory is rarely a whole number of anything."""
    if name != "memory":
        return quantity
    return f"{parse_quantity(quantity, field=name) / 1024**3:.1f} GiB"


def _ask_status(settings: Settings) -> dict[str, Any]:
    """The API's own answer; raises ``SetupError`` when it gives none."""
    from gaelp_ray.cli import machine  # noqa: PLC0415

    try:
        answer = ask(settings, "/api/v1/status", token=machine.passing_token(settings))
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise SetupError(f"The API did not answer as it should: {error}") from None
    found: dict[str, Any] = answer.json()
    return found


def migrate() -> None:
    """Bring the database to the newest schema."""
    from gaelp_ray.cli import machine  # noqa: PLC0415

    revision = machine.migrate(machine.with_database(Settings()))
    out.print(f"The database is at revision {revision}.")


def start(settings: Settings, *, address: str | None = None) -> None:
    """Start the service and return when its health is green; raises ``SetupError`` when it cannot."""
    from gaelp_ray.cli import machine  # noqa: PLC0415
    from gaelp_ray.config import unknown_settings  # noqa: PLC0415

    steps = Steps()
    for sentence in unknown_settings():
        err.print(f"{sentence}.")
    machine.start(settings, address=address, say=steps.say)
    steps.say("Ready")


def stop(settings: Settings) -> None:
    """Stop what ``start`` started on this machine."""
    from gaelp_ray.cli import machine  # noqa: PLC0415

    machine.stop(settings, Steps().say)


def is_ours(settings: Settings) -> bool:
    """Whether the API of this data folder answers here."""
    from gaelp_ray.cli import machine  # noqa: PLC0415

    return machine.answers_as_ours(settings)


def is_up(settings: Settings) -> bool:
    """Whether an API answers here."""
    return _is_ok(settings, "/health")


def is_ready(settings: Settings) -> bool:
    """Whether the API here says that it can do its work."""
    return _is_ok(settings, "/ready")


def _is_ok(settings: Settings, path: str) -> bool:
    try:
        return ask(settings, path).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def ask(settings: Settings, path: str, *, token: str | None = None) -> httpx.Response:
    """One request to the service on this machine, past every proxy; raises ``httpx.HTTPError``."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{base_url(settings)}{path}", headers=headers, timeout=10, trust_env=False)


def base_url(settings: Settings) -> str:
    return local_url(settings.host, settings.port)


def urls(settings: Settings) -> dict[str, str]:
    base = base_url(settings)
    return {
        "API": f"{base}/api/v1",
        "API docs": f"{base}/docs",
        "Live page": f"{base}/live/AGENT_ID",
        "Ray dashboard": f"http://127.0.0.1:{settings.dashboard_port}",
        "Metrics": f"http://127.0.0.1:{settings.metrics_port}/metrics",
    }


def _print_link(name: str, target: str) -> None:
    # Not wrapped: a link must stay whole to be followed.
    out.print(f"{name:<15} {target}", markup=False, highlight=False, soft_wrap=True)
