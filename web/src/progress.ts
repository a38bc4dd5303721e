import { text } from "./text";
import type { OrielEvent, State } from "./api/types";

/** The steps of a start, in their order. */
export const STEPS = Object.keys(text.steps);

/** How far a start has come. `seconds` of the steps done; `since`: when the present one began (ms). */
export interface Progress {
  done: ReadonlyMap<string, number>;
  since: number;
}

export const MOVING: ReadonlySet<State> = new Set(["creating", "starting", "resuming"]);

export function begin(at: string): Progress {
  return { done: new Map(), since: Date.parse(at) };
}

/** `progress` after an event of its desktop; undefined once it tells nothing any more. */
export function advance(progress: Progress | undefined, event: OrielEvent): Progress | undefined {
  if (event.kind === "state.creating" || event.kind === "state.starting") {
    return progress && progress.done.size === 0 ? progress : begin(event.at);
  }
  if (event.kind.startsWith("state.")) return undefined;
  if (!event.kind.startsWith("step.")) return progress;
  const name = event.kind.slice("step.".length);
  const seconds = Number(event.data["seconds"] ?? 0);
  const done = new Map(progress?.done).set(name, seconds);
  return { done, since: Date.parse(event.at) };
}

/** The step under way: the first one that has not been reported. */
export function current(progress: Progress): string {
  return STEPS.find((step) => !progress.done.has(step)) ?? "";
}

/** From a desktop's `timings`, which lists the steps done so far. */
export function fromTimings(timings: Record<string, number>, since: string): Progress {
  const done = new Map(Object.entries(timings).filter(([step]) => STEPS.includes(step)));
  const gone = [...done.values()].reduce((sum, seconds) => sum + seconds, 0);
  return { done, since: Date.parse(since) + gone * 1000 };
}
