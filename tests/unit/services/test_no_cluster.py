"""The ban on clusters in unit tests holds."""

from __future__ import annotations

from typing import Any

import pytest
import ray

USES: dict[str, Any] = {
    "init": lambda: ray.init("auto"),
    "put": lambda: ray.put(1),
    "a task": lambda: ray.remote(int).remote(),
    "a named actor": lambda: ray.get_actor("scheduler", namespace="gaelp"),
}


@pytest.mark.parametrize("case", USES)
def test_reaching_for_a_cluster_fails_the_test(case: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="A unit test reached for a Ray cluster"):
        USES[case]()
    assert not ray.is_initialized()
