"""`gaelp up`, `down`, `status`, `migrate`: the service on this machine."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError
from gaelp_ray.domain.resources import parse_quantity

console = Console()


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
    """Start the service: database, Ray, actors and API. Doing it twice is harmless."""
    settings = Settings()
    start(settings, address=address)
    for name, url in urls(settings).items():
        console.print(f"{name:<15} {url}", soft_wrap=True)
    console.print(f"{'Token':<15} {settings.data_dir / 'token'}", soft_wrap=True)


def down() -> None:
    """Stop what `gaelp up` started. Data stays; at the next `up` jobs go on from their checkpoints."""
    stop(Settings())
    console.print("gaelp is down.")


def status() -> None:
    """Show what runs."""
    settings = Settings()
    if not is_up(settings):
        raise SetupError("gaelp is not up here; start it with `gaelp up`.")
    found = _ask_status(settings)
    table = Table("What", "Value")
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
    console.print(table)
    for each in found.get("failures", ()):
        line = f"{each['last_at'][:19]} {each['duty']}: {each['item']}: {each['error']}"
        console.print(line, markup=False, soft_wrap=True)
    for name, url in urls(settings).items():
        console.print(f"{name:<15} {url}", soft_wrap=True)


def _readable(name: str, quantity: str) -> str:
    """Bytes in GiB: a node's memory is rarely a whole number of anything."""
    if name != "memory":
        return quantity
    return f"{parse_quantity(quantity, field=name) / 1024**3:.1f} GiB"


def _ask_status(settings: Settings) -> dict[str, Any]:
    """The API's own answer; raises ``SetupError`` when it gives none."""
    try:
        token = (settings.data_dir / "token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{base_url(settings)}/api/v1/status", headers=headers, timeout=10)
        answer.raise_for_status()
    except OSError:
        raise SetupError(
            f"There is no token in {settings.data_dir}; run `gaelp down` and `gaelp up`."
        ) from None
    except httpx.HTTPError as error:
        raise SetupError(f"The API did not answer as it should: {error}") from None
    found: dict[str, Any] = answer.json()
    return found


def migrate() -> None:
    """Bring the database to the newest schema."""
    from gaelp_ray.cli import machine  # noqa: PLC0415 - keeps `gaelp --help` quick

    revision = machine.migrate(machine.with_database(Settings()))
    console.print(f"The database is at revision {revision}.")


def start(settings: Settings, *, address: str | None = None) -> None:
    """Start the service and return when its health is green; raises ``SetupError`` when it cannot."""
    from gaelp_ray.cli import machine  # noqa: PLC0415

    with console.status("Starting gaelp") as shown:
        machine.start(settings, address=address, say=lambda step: shown.update(f"{step} ..."))


def stop(settings: Settings) -> None:
    """Stop what ``start`` started on this machine."""
    from gaelp_ray.cli import machine  # noqa: PLC0415

    machine.stop(settings)


def is_up(settings: Settings) -> bool:
    """Whether the API answers here."""
    try:
        return httpx.get(f"{base_url(settings)}/health", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def base_url(settings: Settings) -> str:
    return f"http://{settings.host}:{settings.port}"


def urls(settings: Settings) -> dict[str, str]:
    base = base_url(settings)
    return {
        "API": f"{base}/api/v1",
        "API docs": f"{base}/docs",
        "Live page": f"{base}/live/AGENT_ID",
        "Ray dashboard": f"http://127.0.0.1:{settings.dashboard_port}",
        "Metrics": f"http://127.0.0.1:{settings.metrics_port}/metrics",
    }
