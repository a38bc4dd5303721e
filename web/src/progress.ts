import { text } from "./text";
import type { OrielEvent, State } from "./api/types";

/** The steps of a start, in their order. */
export const STEPS = Object.keys(text.steps);

/** How far a start has come: the seconds of each step done, the step under way and when it began (ms). */
export interface Progress {
  done: ReadonlyMap<string, number>;
  current: string;
  since: number;
}

export const MOVING: ReadonlySet<State> = new Set(["creating", "starting", "resuming"]);

const NOTHING: ReadonlyMap<string, number> = new Map();

/** `progress` after an event of its desktop; undefined once it tells nothing any more. */
export function advance(progress: Progress | undefined, event: OrielEvent): Progress | undefined {
  const [topic, name = ""] = event.kind.split(".");
  const since = Date.parse(event.at);
  const done = progress?.done ?? NOTHING;
  if (topic === "begin") return { done, current: name, since };
  if (topic === "step") return after(new Map(done).set(name, Number(event.data["seconds"] ?? 0)), since);
  if (topic !== "state") return progress;
  if (name === "creating") return after(NOTHING, since);
  // Creating and starting are one way for those who wait.
  if (name === "starting") return progress && done.size === 0 ? progress : after(NOTHING, since);
  return undefined;
}

/** From a desktop's `timings`, which lists the steps done so far. */
export function fromTimings(timings: Record<string, number>, since: string): Progress {
  const done = new Map(Object.entries(timings).filter(([step]) => STEPS.includes(step)));
  const gone = [...done.values()].reduce((sum, seconds) => sum + seconds, 0);
  return after(done, Date.parse(since) + gone * 1000);
}

function after(done: ReadonlyMap<string, number>, since: number): Progress {
  return { done, current: STEPS.find((step) => !done.has(step)) ?? "", since };
}
