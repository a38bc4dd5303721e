import { type Client, part } from "../api/client";
import { asProblem, Problem } from "../api/problem";
import type { Mode } from "../api/types";
import { backOff } from "../back-off";
import { Cell } from "../cell";
import { type Clip, clipOf, NO_CLIP, sameClip } from "./clip";
import { Downloads } from "./downloads";
import { type Figures, Samples } from "./figures";
import { Ladder, type Pin, type Try } from "./ladder";
import type { Screen } from "./screen";
import { Session, SessionEnded } from "./session";

export type Phase =
  | { at: "connecting" }
  | { at: "live" }
  /** `retryAt` (ms): when the next try begins; null while it is under way. `attempt` counts from 1. */
  | { at: "lost"; attempt: number; retryAt: number | null }
  /** The server will not let us in; trying again by itself would change nothing. */
  | { at: "refused"; problem: Problem }
  /** It was put aside. To come back by itself would wake it again. */
  | { at: "paused" }
  | { at: "closed" };

/** What the API tells of a clipboard. */
interface Copied {
  text: string;
  html: string | null;
  image: boolean;
  too_large: readonly string[];
}

const FIGURES_MS = 1000;
/** The server's word when it closes what is open because the desktop is paused. */
const PAUSED = "paused";

/** Keeps a desktop open: a session with a fresh ticket for every try, and a screen on the best rung there is. */
export class Viewing {
  readonly phase = new Cell<Phase>({ at: "closed" });
  readonly screen = new Cell<Screen | null>(null);
  readonly session = new Cell<Session | null>(null);
  /** What was last seen on the screen, for as long as there is no live one. */
  readonly lastFrame = new Cell<HTMLCanvasElement | null>(null);
  /** The desktop's clipboard, as far as it is known here. */
  readonly clipboard = new Cell<Clip>(NO_CLIP);
  /** What went from here to there last: it need not come back. */
  given: Clip = NO_CLIP;
  /** Why what was pasted did not come to the desktop. */
  readonly pasteProblem = new Cell<Problem | null>(null);
  readonly downloads = new Downloads();
  readonly pin = new Cell<Pin>("auto");
  readonly tries = new Cell<readonly Try[]>([]);
  readonly figures = new Cell<Figures | null>(null);
  /** Of what the bar shows: input to pixel, or where that is not known the round trip. */
  readonly history = new Samples();
  readonly muted = new Cell(false);
  /** What goes to the desktop as its microphone: nothing until somebody allows it. */
  readonly voice = new Cell<MediaStreamTrack | null>(null);
  /** Grows whenever somebody who does not drive tries to. */
  readonly blocked = new Cell(0);
  /** Aborted by `close`; null while nothing is to be kept open. */
  private run: AbortController | null = null;
  private ladder: Ladder | null = null;
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
    const watching = setInterval(() => void this.measure(), FIGURES_MS);
    signal.addEventListener("abort", () => clearInterval(watching));
    for (let attempt = 0; ; ) {
      const outcome = await this.once(signal).catch(failure);
      if (signal.aborted) return;
      if (outcome instanceof Problem && [401, 403, 404].includes(outcome.status)) {
        this.close();
        return this.phase.set({ at: "refused", problem: outcome });
      }
      if (outcome === PAUSED) {
        this.close();
        return this.phase.set({ at: "paused" });
      }
      attempt = outcome === "was open" ? 1 : attempt + 1;
      await this.waitForTurn(attempt, signal);
      if (signal.aborted) return;
    }
  }

  close(): void {
    this.run?.abort();
    this.run = null;
    this.wake();
    this.hush();
    this.screen.set(null);
    this.session.set(null);
    this.phase.set({ at: "closed" });
  }

  mute(on: boolean): void {
    this.muted.set(on);
    if (this.screen.value) this.screen.value.muted = on;
  }

  /** Speak into the desktop; the browser asks for leave. Rejects with what the browser says. */
  async speak(): Promise<void> {
    // Plain http from another host: there is no such thing.
    if (!navigator.mediaDevices) throw new DOMException("", "NotAllowedError");
    const [track] = (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks();
    if (!track || !this.run) return track?.stop();
    track.addEventListener("ended", () => this.hush());
    this.voice.set(track);
    this.screen.value?.speak(track);
  }

  /** Speak no longer. */
  hush(): void {
    const track = this.voice.value;
    this.voice.set(null);
    this.screen.value?.speak(null);
    track?.stop();
  }

  tryNow(): void {
    if (this.phase.value.at === "refused" || this.phase.value.at === "paused") void this.connect();
    this.wake();
    this.ladder?.wake();
  }

  pinTo(pin: Pin): void {
    this.pin.set(pin);
    this.ladder?.pin.set(pin);
  }

  /** A key or a click on the screen: whoever does not drive gets it if it is free, and is told else. */
  tried(): void {
    const session = this.session.value;
    if (!session || session.mode !== "control" || session.drives.value) return;
    session.say("drive");
    this.blocked.update((count) => count + 1);
  }

  /** Put it on the desktop's clipboard. Rejects with a Problem if the server will not. */
  async write(clip: Clip): Promise<void> {
    const before = this.clipboard.value;
    if (sameClip(clip, before)) return;
    const path = `/desktops/${part(this.desktopId)}/computer/clipboard`;
    const viewer = this.session.value?.viewer;
    this.given = clip;
    this.clipboard.set(clip);
    try {
      if (clip.image) await this.client.send("PUT", `${path}/image${viewer ? `?viewer=${part(viewer)}` : ""}`, clip.image);
      else await this.client.put(path, { text: clip.text, ...(clip.html && { html: clip.html }), ...(viewer && { viewer }) });
    } catch (error) {
      if (this.clipboard.value === clip) this.clipboard.set(before);
      throw error;
    }
  }

  /** What is pasted into the screen comes to the desktop before the key that pastes it there. */
  private readonly paste = (data: DataTransfer): Promise<void> | null => {
    if (data.types.length === 0) return null;
    // Read at once: it is gone when the event is over.
    const clip = clipOf(data);
    return clip
      .then((found) => found && this.write(found))
      .then(() => this.pasteProblem.set(null))
      .catch((error: unknown) => this.pasteProblem.set(failure(error)));
  };

  /** One session, from its ticket to its end. */
  private async once(signal: AbortSignal): Promise<"was open" | typeof PAUSED | Problem> {
    const session = await Session.open(this.client, this.desktopId, this.mode, signal);
    const over = new AbortController();
    signal.addEventListener("abort", () => over.abort());
    session.onClipboard = () => void this.read().catch(failure);
    session.onDownload = (name, size) => this.downloads.offer(name, size);
    this.session.set(session);
    const ladder = new Ladder(this.client, this.desktopId, this.mode, session, this.holder, {
      onShow: (screen) => {
        screen.muted = this.muted.value;
        screen.speak(this.voice.value);
        this.screen.set(screen);
        this.phase.set({ at: "live" });
        this.lastFrame.set(null);
        void this.measure();
      },
      onDark: (last, attempt, retryAt) => {
        if (last) this.lastFrame.set(last);
        this.screen.set(null);
        this.phase.set({ at: "lost", attempt, retryAt });
      },
      // RFB carries Latin-1; what was really copied is asked for.
      onClipboard: () => this.mode === "control" && void this.read().catch(failure),
      onPaste: this.paste,
    }, over.signal);
    this.ladder = ladder;
    const unwatch = ladder.tries.watch(() => this.tries.set(ladder.tries.value));
    const running = ladder.run(this.pin.value).catch(failure);
    const ended = session.ended().then((why) => (why === PAUSED ? PAUSED : ("was open" as const)));
    const outcome = await Promise.race([ended, running]);
    const last = this.screen.value?.frame();
    if (last && !signal.aborted) this.lastFrame.set(last);
    unwatch();
    over.abort();
    session.close();
    this.ladder = null;
    if (!signal.aborted) {
      this.screen.set(null);
      this.session.set(null);
    }
    return outcome instanceof Problem || outcome === PAUSED ? outcome : "was open";
  }

  /** What is on the desktop's clipboard, all of it. */
  private async read(): Promise<void> {
    const path = `/desktops/${part(this.desktopId)}/computer/clipboard`;
    const told = await this.client.get<Copied>(path);
    const image = told.image && !told.text ? await this.client.picture(`${path}/image`) : null;
    const clip = { text: told.text, html: told.html ?? "", image, tooLarge: told.too_large };
    if (clip.text || clip.html || clip.image || clip.tooLarge.length) this.clipboard.set(clip);
  }

  private async measure(): Promise<void> {
    const screen = this.screen.value;
    if (!screen) return this.figures.set(null);
    const found = await screen.figures();
    const roundTrip = found.roundTrip ?? this.session.value?.roundTrip.value ?? null;
    const before = this.figures.value?.rung;
    this.figures.set({ ...found, roundTrip });
    if (before !== found.rung) this.session.value?.say("rung", { rung: found.rung });
    const shown = found.p50 ?? roundTrip;
    if (shown !== null) this.history.add(shown);
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

/** A failure the server has words for, or an end without any; everything else is a fault of this page. */
function failure(error: unknown): Problem {
  if (error instanceof SessionEnded || error instanceof DOMException) return Problem.offline();
  return asProblem(error);
}
