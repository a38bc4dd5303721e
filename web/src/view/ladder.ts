import type { Client } from "../api/client";
import { part } from "../api/client";
import type { Mode, Ticket } from "../api/types";
import { backOff } from "../back-off";
import { Cell } from "../cell";
import type { RtcScreen, Transport } from "./rtc-screen";
import { loadViewer, type Screen, type ScreenEvents } from "./screen";
import type { Rung, Session } from "./session";

export type Pin = "auto" | Rung;

/** One try of a rung, as the diagnosis shows it. */
export interface Try {
  rung: Rung | "webrtc";
  at: number;
  /** null while it is under way. */
  result: "live" | "failed" | "ended" | null;
  seconds: number | null;
}

/** A part of its own, as noVNC is: the wall does not wait for it. */
const loadStream = (): Promise<typeof RtcScreen> => import("./rtc-screen").then((module) => module.RtcScreen);

const loadVnc = () => import("./vnc-screen").then((module) => module.VncScreen);

const TRIES_KEPT = 12;
// WebRTC alone has this long to show a picture; then noVNC is opened beside it, and whichever paints is shown.
const HEAD_START_MS = 1200;
const FIRST_PICTURE_MS = 20_000;
// On a lower rung, a better one is looked for this often.
const CLIMB_MS = 30_000;

export interface LadderEvents extends Pick<ScreenEvents, "onClipboard" | "onPaste"> {
  /** This screen is the one to look at now. */
  onShow(screen: Screen): void;
  /** None is: `last` is what was seen, and try number `attempt` begins at `retryAt`, or now if that is null. */
  onDark(last: HTMLCanvasElement | null, attempt: number, retryAt: number | null): void;
}

/** The rungs of one session: UDP, TCP and noVNC, tried by themselves, down when one breaks and up again. */
export class Ladder {
  readonly pin = new Cell<Pin>("auto");
  readonly tries = new Cell<readonly Try[]>([]);
  private readonly rtcLive = new Cell(false);
  /** Whether WebRTC has had its head start, or is known not to come. */
  private readonly late = new Cell(false);
  private shown: Screen | null = null;
  private readonly live = new Set<Screen>();
  /** Nothing comes from it at present, and it may come back. */
  private stalled: Screen | null = null;
  private readonly wakers = new Set<() => void>();

  constructor(
    private readonly client: Client,
    private readonly desktopId: string,
    private readonly mode: Mode,
    private readonly session: Session,
    private readonly holder: HTMLElement,
    private readonly events: LadderEvents,
    private readonly stop: AbortSignal,
  ) {
    const unwatch = session.drives.watch(() => this.live.forEach((screen) => (screen.drives = this.drives)));
    stop.addEventListener("abort", unwatch);
  }

  /** Until `stop`. */
  async run(pin: Pin): Promise<void> {
    this.pin.set(pin);
    await Promise.all([this.keepRtc(), this.keepVnc()]);
  }

  private get drives(): boolean {
    return this.mode === "control" && this.session.drives.value;
  }

  private async keepRtc(): Promise<void> {
    if (!("RTCPeerConnection" in window)) return this.late.set(true);
    for (let attempt = 0; !this.stop.aborted; ) {
      await this.until(this.pin, (pin) => pin !== "vnc");
      if (this.stop.aborted) return;
      const late = setTimeout(() => this.late.set(true), HEAD_START_MS);
      const wasLive = await this.tryRtc(this.transportFor(attempt));
      clearTimeout(late);
      this.late.set(!wasLive || attempt > 0);
      attempt = wasLive ? 0 : attempt + 1;
      if (wasLive) setTimeout(() => this.late.set(true), HEAD_START_MS);
      await this.pause(wasLive ? 0 : Math.min(CLIMB_MS, backOff(attempt + 1)), this.pin);
    }
  }

  /** After a failure of both together, TCP alone answers sooner where UDP is blocked. */
  private transportFor(attempt: number): Transport {
    const pin = this.pin.value;
    if (pin === "udp" || pin === "tcp") return pin;
    return attempt % 2 ? "tcp" : "any";
  }

  private async tryRtc(transport: Transport): Promise<boolean> {
    const Rtc = await loadStream();
    if (this.stop.aborted) return false;
    const note = this.note(transport === "any" ? "webrtc" : transport);
    return new Promise((resolve) => {
      const ended = (last: HTMLCanvasElement | null): void => {
        const wasLive = this.live.delete(screen);
        this.stalled = null;
        this.rtcLive.set(false);
        clearTimeout(patience);
        clearInterval(climbing);
        unpin();
        note(wasLive ? "ended" : "failed");
        if (wasLive) this.lost(screen, last, 1, null);
        this.stop.removeEventListener("abort", give);
        resolve(wasLive);
      };
      const screen = new Rtc(this.session, this.holder, {
        onPicture: () => {
          clearTimeout(patience);
          note("live");
          this.stalled = null;
          if (this.shown) screen.takeOver();
          this.show(screen);
          this.rtcLive.set(true);
        },
        onStall: () => {
          note("ended");
          this.live.delete(screen);
          this.stalled = screen;
          this.rtcLive.set(false);
          this.late.set(true);
          this.lost(screen, screen.frame(), 1, null);
        },
        onEnd: ended,
        onClipboard: this.events.onClipboard,
        onPaste: this.events.onPaste,
      }, transport, true);
      const give = (): void => {
        const last = screen.frame();
        screen.close();
        ended(last);
      };
      const patience = setTimeout(give, FIRST_PICTURE_MS);
      const climbing = setInterval(() => void this.climb(screen), CLIMB_MS);
      const unpin = this.pin.watch(give);
      this.stop.addEventListener("abort", give);
    });
  }

  /** From TCP back to UDP, if that is to be had again: the path in use goes on until a better one answers. */
  private async climb(screen: RtcScreen): Promise<void> {
    if (this.pin.value !== "auto" || !this.live.has(screen)) return;
    if ((await screen.figures()).rung === "tcp") screen.restart("any");
  }

  private async keepVnc(): Promise<void> {
    for (let attempt = 0; !this.stop.aborted; ) {
      await this.until(this.pin, (pin) => pin === "vnc" || pin === "auto");
      if (this.pin.value === "auto") {
        await this.until(this.rtcLive, (live) => !live || this.pin.value === "vnc");
        await this.until(this.late, (late) => late || this.pin.value === "vnc");
        if (this.rtcLive.value) continue;
      }
      if (this.stop.aborted) return;
      const outcome = await this.tryVnc(attempt);
      if (this.stop.aborted) return;
      if (outcome === "not needed") continue;
      attempt = outcome === "was live" ? 1 : attempt + 1;
      const ms = backOff(attempt - 1);
      if (!this.shown) this.events.onDark(null, attempt, Date.now() + ms);
      await this.pause(ms, this.rtcLive);
      if (!this.shown) this.events.onDark(null, attempt, null);
    }
  }

  private async tryVnc(attempt: number): Promise<"was live" | "never live" | "not needed"> {
    const note = this.note("vnc");
    const path = `/desktops/${part(this.desktopId)}`;
    const [{ ticket }, Rfb, VncScreen] = await Promise.all([
      this.client.post<Ticket>(`${path}/tickets`, { mode: this.mode }),
      loadViewer(),
      loadVnc(),
    ]);
    return new Promise((resolve) => {
      const ended = (last: HTMLCanvasElement | null, outcome?: "not needed"): void => {
        const wasLive = this.live.delete(screen);
        clearTimeout(patience);
        unwatch();
        unpin();
        this.stop.removeEventListener("abort", leave);
        note(wasLive ? "ended" : "failed");
        if (wasLive && !outcome) this.lost(screen, last, Math.max(1, attempt), null);
        resolve(outcome ?? (wasLive ? "was live" : "never live"));
      };
      const screen = new VncScreen(Rfb, this.holder, `${path}/vnc?viewer=${part(this.session.viewer)}`, ticket, {
        onPicture: () => {
          clearTimeout(patience);
          note("live");
          void this.follow(screen);
        },
        onStall: () => {},
        onEnd: ended,
        onClipboard: this.events.onClipboard,
        onPaste: this.events.onPaste,
      });
      screen.drives = this.drives;
      const leave = (): void => {
        screen.close();
        ended(null, "not needed");
      };
      const patience = setTimeout(() => {
        screen.close();
        ended(null);
      }, FIRST_PICTURE_MS);
      const unwatch = this.rtcLive.watch(() => this.rtcLive.value && leave());
      const unpin = this.pin.watch(() => this.pin.value !== "vnc" && this.pin.value !== "auto" && leave());
      this.stop.addEventListener("abort", leave);
    });
  }

  /** Show noVNC's screen, once what was typed on the one that stalled is where it belongs. */
  private async follow(screen: Screen): Promise<void> {
    this.live.add(screen);
    await this.stalled?.settle();
    if (this.live.has(screen) && !this.rtcLive.value) this.show(screen);
  }

  private show(screen: Screen): void {
    this.live.add(screen);
    this.shown = screen;
    screen.drives = this.drives;
    this.events.onShow(screen);
  }

  private lost(screen: Screen, last: HTMLCanvasElement | null, attempt: number, retryAt: number | null): void {
    if (this.shown !== screen) return;
    const [other] = this.live;
    this.shown = null;
    if (other) this.show(other);
    else if (!this.stop.aborted) this.events.onDark(last, attempt, retryAt);
  }

  /** Writes down a try; the returned function, how it went. */
  private note(rung: Try["rung"]): (result: Try["result"]) => void {
    const began = performance.now();
    let entry: Try = { rung, at: Date.now(), result: null, seconds: null };
    this.tries.update((old) => [...old.slice(1 - TRIES_KEPT), entry]);
    return (result) => {
      const seconds = entry.seconds ?? (performance.now() - began) / 1000;
      const next = { ...entry, result, seconds };
      this.tries.update((old) => old.map((one) => (one === entry ? next : one)));
      entry = next;
    };
  }

  /** Resolves once `holds`, looked at whenever `cell` or the pin changes; or at `stop`. */
  private until<T>(cell: Cell<T>, holds: (value: T) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!this.stop.aborted && !holds(cell.value)) return;
        unwatch.forEach((one) => one());
        this.stop.removeEventListener("abort", look);
        resolve();
      };
      const unwatch = [cell.watch(look), this.pin.watch(look)];
      this.stop.addEventListener("abort", look);
      look();
    });
  }

  /** Resolves after `ms`, or when the network comes back, `cell` or the pin changes, it is woken, or `stop`. */
  private pause(ms: number, cell: Cell<unknown>): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        unwatch.forEach((one) => one());
        window.removeEventListener("online", done);
        this.stop.removeEventListener("abort", done);
        this.wakers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      const unwatch = [cell.watch(done), this.pin.watch(done)];
      window.addEventListener("online", done);
      this.stop.addEventListener("abort", done);
      this.wakers.add(done);
    });
  }

  /** Try again now. */
  wake(): void {
    for (const waker of [...this.wakers]) waker();
  }
}
