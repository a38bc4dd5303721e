"""Server-sent events, by the rules of the standard that a client needs."""

from __future__ import annotations

from oriel.client.sse import ServerEvent, ServerEvents


def read(text: str) -> list[ServerEvent]:
    parser = ServerEvents()
    return [event for line in text.split("\n") if (event := parser.feed(line))]


def test_fields_comments_and_blank_lines() -> None:
    seen = read(': alive\nid: 7\nevent: state\ndata: {"a":\ndata: 1}\n\n\ndata:tight\nretry: 10\nwhat: x\n\n')
    assert seen == [ServerEvent("7", "state", '{"a":\n1}'), ServerEvent("7", "message", "tight")]


def test_only_one_leading_space_is_taken_and_an_event_without_data_is_none() -> None:
    assert read("data:  two\n\nevent: x\n\ndata\n\n") == [
        ServerEvent("", "message", " two"),
        ServerEvent("", "message", ""),
    ]


def test_an_unfinished_event_is_not_told() -> None:
    assert read("data: half") == []


def test_an_id_with_a_null_is_ignored() -> None:
    assert read("id: 3\nid: 4\0\ndata: x\n\n") == [ServerEvent("3", "message", "x")]
