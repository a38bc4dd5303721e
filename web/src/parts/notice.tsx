import type { ComponentChildren } from "preact";
import type { Problem } from "../api/problem";
import { Icon } from "./icons";

/** What went wrong and what to do, in the place where it went wrong; it stays until it is dealt with. */
export function Notice({ problem, children }: { problem: Problem; children?: ComponentChildren }) {
  return (
    <div class="notice" role="alert">
      <Icon name="alert" />
      <div>
        <p class="notice-what">{problem.message}</p>
        {problem.hint && <p class="notice-hint">{problem.hint}</p>}
        {children}
      </div>
    </div>
  );
}
