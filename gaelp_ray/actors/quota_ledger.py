"""The door to quotas from inside the cluster. It holds no truth: every answer is the database's."""

from __future__ import annotations

import asyncio
import os

from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.access import SYSTEM
from gaelp_ray.domain.quotas import Amounts, Quota, QuotaKind, Verdict
from gaelp_ray.domain.requests import Request
from gaelp_ray.services import quotas as quota_service
from gaelp_ray.services.quotas import QuotaUsage


class QuotaLedger:
    """Answers questions. Whoever reaches it is inside the cluster and may ask about everybody."""

    async def __init__(self, settings: Settings) -> None:  # type: ignore[misc]
        self._store = Runtime(settings).store

    async def may_hold(self, user: str, request: Request) -> Verdict | None:
        """Why a user may not hold so much more at this moment; None when he may. The planner decides."""
        asked = Amounts.of(request.total)
        return await asyncio.to_thread(self._store.read, quota_service.may_hold, user, asked)

    async def usage(self, user: str) -> QuotaUsage:
        """What a user holds now, and how many of his jobs wait."""
        return await asyncio.to_thread(self._store.read, quota_service.usage, QuotaKind.USER, user, by=SYSTEM)

    async def limits(self, user: str) -> Quota:
        """The quota that a user goes by: his own, or the default."""
        stored = await asyncio.to_thread(self._store.read, quota_service.get, QuotaKind.USER, user, by=SYSTEM)
        return stored.quota

    async def pid(self) -> int:
        return os.getpid()
