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

interface Ended {
  live: boolean;
}

/** Keeps a desktop's screen open: a fresh ticket for every try, and another try after every loss. */
export class Viewing {
  readonly phase = new Cell<Phase>({ at: "closed" });
  readonly screen = new Cell<RemoteScreen | null>(null);
  /** What was last seen on the screen, for as long as there is no live one. */
  readonly lastFrame = new Cell<HTMLCanvasElement | null>(null);
  readonly clipboard = new Cell("");
  private open = false;
  private wake: () => void = () => {};

  constructor(
    private readonly client: Client,
    private readonly desktopId: string,
    private readonly mode: Mode,
    private readonly holder: HTMLElement,
  ) {}

  /** Connect, and stay connected until `close`. */
  async connect(): Promise<void> {
    if (this.open) return;
    this.open = true;
    this.phase.set({ at: "connecting" });
    let attempt = 0;
    while (this.open) {
      const failure = await this.once().catch((error: unknown) => asProblem(error));
      if (!this.open) return;
      if (failure instanceof Problem && [401, 403, 404].includes(failure.status)) {
        return this.refuse(failure);
      }
      attempt = failure instanceof Problem || !failure.live ? attempt + 1 : 1;
      await this.waitForTurn(attempt);
    }
  }

  close(): void {
    this.open = false;
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
  private async once(): Promise<Ended> {
    const path = `/desktops/${part(this.desktopId)}`;
    const [{ ticket }, Rfb] = await Promise.all([
      this.client.post<Ticket>(`${path}/tickets`, { mode: this.mode }),
      loadViewer(),
    ]);
    let live = false;
    await new Promise<void>((resolve) => {
      if (!this.open) return resolve();
      const screen = new RemoteScreen(Rfb, this.holder, `${path}/vnc`, ticket, {
        onPicture: () => {
          live = true;
          this.phase.set({ at: "live" });
          this.lastFrame.set(null);
        },
        onClipboard: (text) => this.clipboard.set(text),
        onEnd: (last) => {
          if (last) this.lastFrame.set(last);
          this.screen.set(null);
          resolve();
        },
      });
      screen.viewOnly = this.mode === "view";
      this.screen.set(screen);
    });
    return { live };
  }

  private refuse(problem: Problem): void {
    this.open = false;
    this.phase.set({ at: "refused", problem });
  }

  private async waitForTurn(attempt: number): Promise<void> {
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
    if (this.open) this.phase.set({ at: "lost", attempt, retryAt: null });
  }
}
