import { expect, test } from "vitest";
import { EventParser } from "../src/api/sse";

test("events come out whole however the stream is cut", () => {
  const stream = ': hello\n\nid: 7\nevent: state.running\ndata: {"a":\ndata: 1}\n\nid: 8\r\ndata: x\r\n\r\n';
  for (let size = 1; size <= stream.length; size++) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < stream.length; at += size) events.push(...parser.push(stream.slice(at, at + size)));
    expect(events, `pieces of ${size}`).toEqual([
      { id: "7", event: "state.running", data: '{"a":\n1}' },
      { id: "8", event: "message", data: "x" },
    ]);
  }
});

test("a comment and an event without data are no events", () => {
  expect(new EventParser().push(": ping\n\nevent: empty\n\n")).toEqual([]);
});
