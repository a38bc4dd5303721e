import { duration } from "../amount";
import type { Desktop } from "../api/types";
import { fromTimings, type Progress, STEPS } from "../progress";
import { text } from "../text";
import { useNow } from "./clock";

/** The real steps of a start with their real times; the one under way counts. */
export function Steps({ progress, desktop }: { progress: Progress | undefined; desktop: Desktop }) {
  const known = progress ?? fromTimings(desktop.timings, desktop.created_at);
  const now = useNow(100);
  const running = Math.max(0, now - known.since) / 1000;
  return (
    <ol class="steps">
      {STEPS.map((step) => {
        const seconds = known.done.get(step);
        const kind = seconds !== undefined ? "done" : step === known.current ? "now" : "";
        return (
          <li key={step} class={kind} aria-current={kind === "now" ? "step" : undefined}>
            <span class="step-name">{text.steps[step]}</span>
            <span class="step-time">
              {seconds !== undefined ? duration(seconds) : kind === "now" && duration(running)}
            </span>
          </li>
        );
      })}
    </ol>
  );
}
