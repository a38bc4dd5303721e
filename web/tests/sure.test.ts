import { describe, expect, it, vi } from "vitest";
import { Sure } from "../src/view/sure";

/** A desktop that takes what comes by number, and a channel that can be stopped. */
function desktop() {
  const taken: string[] = [];
  const early = new Map<number, string>();
  const kept: { s: number; key: string }[] = [];
  let passes = true;
  const take = (message: { s: number; key: string }): void => {
    if (message.s > taken.length) early.set(message.s, message.key);
    for (let due; (due = early.get(taken.length + 1)); ) taken.push(due);
  };
  vi.useFakeTimers();
  vi.stubGlobal("window", globalThis);
  const sure = new Sure(
    (message) => {
      if (passes) take(message as never);
      else kept.push(message as never);
      return true;
    },
    (messages) => messages.forEach((message) => take(message as never)),
  );
  const type = (text: string): void => [...text].forEach((key) => sure.send({ key }));
  return {
    sure, taken, type,
    stop: () => (passes = false),
    go: () => {
      passes = true;
      kept.splice(0).forEach(take);
    },
  };
}

describe("what must arrive", () => {
  it("arrives once and in order through a stall, also what the channel brings late", () => {
    const { sure, taken, type, stop, go } = desktop();
    type("ab");
    sure.took(1, true);
    stop();
    type("cd");
    sure.stall();
    type("ef");
    vi.advanceTimersByTime(100);
    expect(taken.join("")).toBe("abcdef");
    go();
    sure.took(6, true);
    type("gh");
    expect(taken.join("")).toBe("abcdefgh");
  });

  it("waits for what is under way beside when the channel is faster again", () => {
    const { sure, taken, type } = desktop();
    sure.stall();
    type("ab");
    sure.took(0, true);
    type("c");
    expect(taken).toEqual([]);
    vi.advanceTimersByTime(100);
    expect(taken.join("")).toBe("abc");
  });

  it("is waited for before other hands take over, and comes behind theirs afterwards", async () => {
    const { sure, taken, type } = desktop();
    sure.stall();
    type("ab");
    const settled = sure.settle();
    type("c");
    expect(taken.join("")).toBe("abc");
    sure.took(3, false);
    await settled;
    sure.took(3, true);
    sure.hold(100);
    type("d");
    expect(taken.join("")).toBe("abc");
    vi.advanceTimersByTime(100);
    expect(taken.join("")).toBe("abcd");
  });

  it("is said to its end, in pieces that may be so large", () => {
    const { sure, taken, type } = desktop();
    sure.stall();
    const text = "x".repeat(1000);
    type(text);
    sure.end();
    expect(taken.join("")).toBe(text);
  });
});
