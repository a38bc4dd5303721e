import type { Rung } from "./session";

/** What the bar shows of the connection; null where that rung cannot know. */
export interface Figures {
  rung: Rung;
  /** Input to pixel, ms: of the last ones that were measured. */
  p50: number | null;
  p95: number | null;
  fps: number | null;
  kbps: number | null;
  /** Of packets, 0 to 1. */
  loss: number | null;
  roundTrip: number | null;
  codec: string;
}

const KEPT = 120;

/** The last values, and what can be said of them. */
export class Samples {
  private readonly values: number[] = [];

  add(value: number): void {
    this.values.push(value);
    if (this.values.length > KEPT) this.values.shift();
  }

  get list(): readonly number[] {
    return this.values;
  }

  /** The value that a share `of` (0 to 1) of them does not exceed; null without any. */
  quantile(of: number): number | null {
    if (this.values.length === 0) return null;
    const sorted = [...this.values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.ceil(of * sorted.length) - 1)] ?? null;
  }
}

/** Whether RTP time `a` is not before `b`; they count in 32 bits and begin again. */
export const notBefore = (a: number, b: number): boolean => ((a - b) >>> 0) < 0x80000000;
