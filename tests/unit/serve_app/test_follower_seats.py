"""Who follows has a seat: so many for one user, so many in all, and each is free again in the end."""

from __future__ import annotations

import pytest

from gaelp_ray.domain.errors import TooManyFollowers
from serve_app.errors import of_error
from serve_app.followers import Followers


def test_one_user_never_takes_the_seats_of_others() -> None:
    followers = Followers(of_user=2, in_all=3)
    followers.take("ann")
    followers.take("ann")
    with pytest.raises(TooManyFollowers) as refused:
        followers.take("ann")
    followers.take("bob")

    answer = of_error(refused.value)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "5"


def test_all_together_have_so_many() -> None:
    followers = Followers(of_user=2, in_all=3)
    for user in ("ann", "ann", "bob"):
        followers.take(user)
    with pytest.raises(TooManyFollowers, match="3 logs and agents"):
        followers.take("cat")
    followers.leave("ann")
    followers.take("cat")


def test_a_seat_is_free_again_however_its_block_ends() -> None:
    followers = Followers(of_user=1, in_all=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="gone"), followers.seat("ann"):
            raise ValueError("gone")
    with followers.seat("ann"), pytest.raises(TooManyFollowers), followers.seat("ann"):
        pass
    with followers.seat("bob"):
        pass
