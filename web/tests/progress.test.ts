import { expect, test } from "vitest";
import type { OrielEvent } from "../src/api/types";
import { advance, fromTimings, type Progress, STEPS } from "../src/progress";

const event = (kind: string, second: number, data = {}): OrielEvent => ({
  id: "",
  kind,
  at: new Date(second * 1000).toISOString(),
  desktop: "d-aaaaaaaaaa",
  message: "",
  data,
});

const after = (...events: OrielEvent[]): Progress | undefined =>
  events.reduce<Progress | undefined>(advance, undefined);

test("each step is noted with its own time, and the next one begins", () => {
  const progress = after(
    event("state.creating", 10),
    event("step.link", 11, { seconds: 0.02 }),
    event("step.disk", 12, { seconds: 0.5 }),
  );
  expect([...(progress?.done ?? [])]).toEqual([["link", 0.02], ["disk", 0.5]]);
  expect(progress?.since).toBe(12_000);
  expect(progress?.current).toBe("gateway");
});

test("the step that has begun is the one under way, whatever the order", () => {
  const progress = after(event("state.starting", 1), event("begin.machine", 5));
  expect([progress?.current, progress?.since]).toEqual(["machine", 5000]);
});

test("a new start forgets the steps of the last one; its end forgets all", () => {
  const first = [event("state.creating", 1), event("step.link", 2, { seconds: 1 })];
  expect(after(...first, event("state.starting", 3))?.done.size).toBe(0);
  expect(after(...first, event("state.running", 3))).toBeUndefined();
  expect(after(...first, event("state.failed", 3))).toBeUndefined();
});

test("a page opened in the middle of a start goes on from the desktop's timings", () => {
  const progress = fromTimings({ link: 0.5, disk: 1.5, other: 9 }, new Date(10_000).toISOString());
  expect(progress.current).toBe(STEPS[2]);
  expect(progress.since).toBe(12_000);
});
