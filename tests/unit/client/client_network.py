"""The kinds of stand-ins for the network that the tests of the client use."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from gaelp_ray.client import GaelpClient

Handler = Callable[[httpx.Request], httpx.Response]
Connect = Callable[[Handler], GaelpClient]
