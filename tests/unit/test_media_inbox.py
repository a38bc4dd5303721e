"""A viewer's input by two ways: each message once, in its order."""

from __future__ import annotations

import random

import pytest

from agent.media.inbox import MOST_EARLY, Inbox
from oriel.model.errors import InvalidError


def test_messages_without_numbers_are_taken_as_they_come() -> None:
    inbox = Inbox()
    assert list(inbox.take({"type": "release"})) == [{"type": "release"}]
    assert inbox.taken == 0


def test_each_message_is_taken_once_and_in_order_whatever_way_was_faster() -> None:
    chosen = random.Random(7)
    for _ in range(50):
        inbox, count = Inbox(), 60
        stalled = chosen.randrange(count)
        first = list(range(1, stalled + 1))  # by the channel, and the end of it again beside
        ways = [first, list(range(max(1, stalled - 20), count + 1))]
        taken = []
        while any(ways):
            way = chosen.choice([way for way in ways if way])
            taken += [message["key"] for message in inbox.take({"s": way[0], "key": way.pop(0)})]
        assert taken == list(range(1, count + 1))
        assert inbox.taken == count


@pytest.mark.parametrize("number", ["1", 1.0, True, MOST_EARLY + 1])
def test_a_number_that_cannot_be_is_refused_and_changes_nothing(number: object) -> None:
    inbox = Inbox()
    with pytest.raises(InvalidError):
        list(inbox.take({"s": number}))
    assert list(inbox.take({"s": 1, "a": 1})) == [{"a": 1}]
