import { type Client, part } from "../api/client";
import { asProblem, Problem } from "../api/problem";
import type { Mode, Ticket } from "../api/types";
import { backOff } from "../back-off";
import { Cell } from "../cell";
import { loadViewer, RemoteScreen } from "./screen";

export type Phase =
  | { at: "connecting" }
  | { at: "live" }
  /** `retryAt` (ms): when the next try begins; null while it is under way. `attempt` counts from 1. */
  | { at: "lost"; attempt: number; retryAt: number | null }
  /** The server will not let us in; trying again by itself would change nothing. */
  | { at: "refused"; problem: Problem }
  | { at: "closed" };

const FIRST_PICTURE_MS = 20_000;

/** Keeps a desktop's screen open: a fresh ticket for every try, and another try after every loss. */
export class Viewing {
  readonly phase = new Cell<Phase>({ at: "closed" });
  readonly screen = new Cell<RemoteScreen | null>(null);
  /** What was last seen on the screen, for as long as there is no live one. */
  readonly lastFrame = new Cell<HTMLCanvasElement | null>(null);
  readonly clipboard = new Cell("");
  /** Aborted by `close`; null while nothing is to be kept open. */
  private run: AbortController | null = null;
  private wake: () => void = () => {};

  constructor(
    private readonly client: Client,
    private readonly desktopId: string,
    private readonly mode: Mode,
    private readonly holder: HTMLElement,
  ) {}

  /** Connect, and stay connected until `close` or a refusal. */
  async connect(): Promise<void> {
    if (this.run) return;
    this.run = new AbortController();
    const { signal } = this.run;
    this.phase.set({ at: "connecting" });
    for (let attempt = 0; ; ) {
      const outcome = await this.once(signal).catch((error: unknown) => asProblem(error));
      if (signal.aborted) return;
      if (outcome instanceof Problem && [401, 403, 404].includes(outcome.status)) {
        this.run = null;
        return this.phase.set({ at: "refused", problem: outcome });
      }
      attempt = outcome === "was live" ? 1 : attempt + 1;
      await this.waitForTurn(attempt, signal);
      if (signal.aborted) return;
    }
  }

  close(): void {
    this.run?.abort();
    this.run = null;
    this.wake();
    this.screen.value?.close();
    this.screen.set(null);
    this.phase.set({ at: "closed" });
  }

  tryNow(): void {
    if (this.phase.value.at === "refused") void this.connect();
    this.wake();
  }

  /** One connection, from its ticket to its end. */
  private async once(signal: AbortSignal): Promise<"was live" | "never live"> {
    const path = `/desktops/${part(this.desktopId)}`;
    const [{ ticket }, Rfb] = await Promise.all([
      this.client.post<Ticket>(`${path}/tickets`, { mode: this.mode }),
      loadViewer(),
    ]);
    if (signal.aborted) return "never live";
    return new Promise((resolve) => {
      let live = false;
      const ended = (): void => {
        clearTimeout(late);
        if (!signal.aborted) this.screen.set(null);
        resolve(live ? "was live" : "never live");
      };
      const screen = new RemoteScreen(Rfb, this.holder, `${path}/vnc`, ticket, {
        onPicture: () => {
          live = true;
          clearTimeout(late);
          this.phase.set({ at: "live" });
          this.lastFrame.set(null);
        },
        onClipboard: (text) => this.clipboard.set(text),
        onEnd: (last) => {
          if (last) this.lastFrame.set(last);
          ended();
        },
      });
      const late = setTimeout(() => {
        screen.close();
        ended();
      }, FIRST_PICTURE_MS);
      signal.addEventListener("abort", ended);
      screen.viewOnly = this.mode === "view";
      this.screen.set(screen);
    });
  }

  private async waitForTurn(attempt: number, signal: AbortSignal): Promise<void> {
    const ms = backOff(attempt - 1);
    this.phase.set({ at: "lost", attempt, retryAt: Date.now() + ms });
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
      window.addEventListener("online", this.wake, { once: true });
    });
    window.removeEventListener("online", this.wake);
    if (!signal.aborted) this.phase.set({ at: "lost", attempt, retryAt: null });
  }
}
