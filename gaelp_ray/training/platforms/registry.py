"""Ad platforms by the names that jobs give them in ``config["platform"]``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.training.orders import MARGIN, platform_options
from gaelp_ray.training.platforms import sandbox
from gaelp_ray.training.platforms.port import AdPlatform

#: Entry points of this group are adapters to real platforms: each is a ``Maker``, by its platform's name.
GROUP = "gaelp_ray.platforms"


@dataclass(frozen=True)
class Site:
    """Where an adapter works."""

    job_id: int
    seed: int
    #: A folder in the service's storage, for what an adapter wants to remember between attempts.
    folder_uri: str


#: Makes an adapter from the options of the job; raises ``InvalidInput`` for options that it cannot use.
Maker = Callable[[Mapping[str, Any], Site], AdPlatform]


def make(config: Mapping[str, Any], site: Site) -> AdPlatform:
    """The platform that a job's configuration names; raises ``InvalidInput`` for one that is unknown."""
    options = dict(platform_options(config))
    options.pop(MARGIN, None)
    return _maker(options.pop("name"))(options, site)


def _maker(name: str) -> Maker:
    if name == sandbox.NAME:
        return _sandbox
    installed = entry_points(group=GROUP)
    for each in installed.select(name=name):
        maker: Maker = each.load()
        return maker
    known = ", ".join(sorted({sandbox.NAME, *installed.names}))
    raise InvalidInput(f"There is no platform {name!r:.60}; known are {known}.")


def _sandbox(options: Mapping[str, Any], site: Site) -> AdPlatform:
    uri = f"{site.folder_uri.rstrip('/')}/{sandbox.NAME}/job-{site.job_id}.json"
    return sandbox.LastingSandbox.at(uri, **{"seed": site.seed, **options})
