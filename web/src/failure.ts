import type { Desktop } from "./api/types";
import { text } from "./text";

export interface Failure {
  message: string;
  hint: string;
  console: string;
}

/** Why a desktop failed, in the form the page shows. */
export function failureOf(desktop: Desktop): Failure {
  const { error } = desktop;
  if (!error) return { message: text.problem.noReason, hint: "", console: "" };
  if (typeof error === "string") return { message: error, hint: "", console: "" };
  return {
    message: error.detail || error.message || text.problem.noReason,
    hint: error.hint ?? "",
    console: error.console ?? "",
  };
}
