"""Rewards are cut as the policies of the agent say, with real processes; its owner hears of what is odd."""

from __future__ import annotations

from fake_link import FakeLink, Start

from gaelp_ray.domain.safety.rewards import RewardClip
from gaelp_ray.training.supervisor import MAX_NOTICE, MOST_NOTICES


def test_rewards_are_cut_and_too_many_are_told_of_once(start: Start, link: FakeLink) -> None:
    result = start("jobs:clip_rewards", reward_clips=(RewardClip(low=-10, high=50),)).outcome().result
    assert result is not None
    assert result["clips"] is True
    assert (min(result["rewards"]), max(result["rewards"])) == (-10, 50)
    [words] = link.words
    assert words.startswith("90 of 100 rewards lie outside -10 to 50 and were cut; 20 % may.")


def test_without_a_rule_rewards_are_as_they_are(start: Start, link: FakeLink) -> None:
    result = start("jobs:clip_rewards").outcome().result
    assert result is not None
    assert result["clips"] is False
    assert result["rewards"] == [float(n) for n in range(-100, 101)]
    assert link.words == []


def test_what_a_job_says_to_its_owner_is_bounded(start: Start, link: FakeLink) -> None:
    start("jobs:complain").outcome()
    assert len(link.words) == MOST_NOTICES
    assert {len(words) for words in link.words} == {MAX_NOTICE}
