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

type Measured = Pick<Figures, "rung" | "kbps" | "loss" | "fps">;

/** What passes on a WebRTC connection, from the browser's own counts (RTCStatsReport). */
export class Meter {
  private seen = { bytes: 0, at: 0, lost: 0, received: 0, frames: 0 };

  /** Since the last time; null where nothing can be said yet. */
  read(report: ReadonlyMap<string, unknown>): Measured {
    const found: Measured = { rung: "udp", kbps: null, loss: null, fps: null };
    const all = [...report.values()] as Record<string, unknown>[];
    const inbound = all.find((one) => one["type"] === "inbound-rtp" && one["kind"] === "video");
    const transport = all.find((one) => one["type"] === "transport");
    const pair = all.find((one) => one["id"] === transport?.["selectedCandidatePairId"]);
    const remote = all.find((one) => one["id"] === pair?.["remoteCandidateId"]);
    if (remote?.["protocol"] === "tcp") found.rung = "tcp";
    if (!inbound) return found;
    const count = (name: string): number => Number(inbound[name]);
    const now = {
      bytes: count("bytesReceived"), at: performance.now(), lost: count("packetsLost"),
      received: count("packetsReceived"), frames: count("framesDecoded"),
    };
    const { seen } = this;
    const seconds = (now.at - seen.at) / 1000;
    if (seen.at && seconds > 0.2) {
      found.kbps = ((now.bytes - seen.bytes) * 8) / 1000 / seconds;
      found.fps = (now.frames - seen.frames) / seconds;
      const packets = now.received - seen.received + (now.lost - seen.lost);
      found.loss = packets > 0 ? Math.max(0, now.lost - seen.lost) / packets : 0;
    }
    this.seen = now;
    return found;
  }
}
