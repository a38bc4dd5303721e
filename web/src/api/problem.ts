import { text } from "../text";
import type { Fault } from "./types";

/** A failed request in words: what happened, what to do, and which fields are wrong (RFC 9457). */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly hint: string,
    readonly faults: Fault[] = [],
  ) {
    super(message);
  }

  /** The fault of one field of a form, "" if it has none. */
  fault(field: string): string {
    return this.faults.find((fault) => fault.field === field)?.problem ?? "";
  }

  static offline(): Problem {
    return new Problem(0, "offline", text.problem.offline, text.problem.offlineHint);
  }

  static async of(response: Response): Promise<Problem> {
    const body: unknown = await response.json().catch(() => null);
    return Problem.fromBody(response.status, body);
  }

  /** From an answer's parsed body, whatever it is. */
  static fromBody(status: number, body: unknown): Problem {
    const said = isObject(body) ? body : {};
    return new Problem(
      status,
      word(said.code) || "unknown",
      word(said.detail) || word(said.title) || text.problem.odd(status),
      word(said.hint) || (isObject(body) ? "" : text.problem.oddHint),
      faultsOf(said.faults ?? said.errors),
    );
  }
}

/** Any thrown value as a Problem; what is no Problem is a fault of this page, and is thrown on. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  throw error;
}

function faultsOf(value: unknown): Fault[] {
  if (!Array.isArray(value)) return [];
  return value.filter(isObject).map((fault) => ({
    field: word(fault.field),
    problem: word(fault.problem) || word(fault.message),
  }));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function word(value: unknown): string {
  return typeof value === "string" ? value : "";
}
