import type RFB from "@novnc/novnc";
import type { Figures } from "./figures";
import { socketUrl } from "./session";

/** A desktop's screen, on whatever rung. */
export interface Screen {
  readonly rung: "webrtc" | "vnc";
  /** Whether what is done here goes to the desktop. */
  drives: boolean;
  /** Whether the picture is scaled to the window, or shown pixel by pixel. */
  fitted: boolean;
  focus(): void;
  /** Press and release keys: all down in order, then up in reverse. */
  press(chord: readonly Key[]): void;
  hold(key: Key, down: boolean): void;
  /** Type a text, whatever keys the desktop has for it. */
  type(text: string): void;
  /** Whether what the desktop plays is not to be heard here. */
  muted: boolean;
  /** From now on this is the desktop's microphone, null: nothing; false if this rung carries no sound. */
  speak(voice: MediaStreamTrack | null): boolean;
  /** What is seen and heard, for as long as this screen lasts; null before the first picture. */
  stream(): MediaStream | null;
  /** Put text on the desktop's clipboard; false if this rung cannot carry it. */
  paste(text: string): boolean;
  picture(): Promise<Blob | null>;
  /** A copy of what is seen now, null before the first picture. */
  frame(): HTMLCanvasElement | null;
  figures(): Promise<Figures>;
  /** Resolves when the desktop has taken what was typed here, as far as that is known: before another screen is used. */
  settle(): Promise<void>;
  /** Another screen was used until now: nothing overtakes what was typed there. */
  takeOver(): void;
  close(): void;
}

export interface ScreenEvents {
  /** The first real picture is painted, or the screen is back after it had stalled. */
  onPicture(): void;
  /** Nothing comes any more. It may come back by itself; whatever is shown meanwhile is another's. */
  onStall(): void;
  /** The desktop's clipboard has changed. What comes from a desktop is never trusted: plain text only. */
  onClipboard(text: string): void;
  /** The connection has ended, by whatever cause; `last` is a copy of what was on the screen. */
  onEnd(last: HTMLCanvasElement | null): void;
}

export interface Key {
  keysym: number;
  code: string | null;
}

const PICTURES_A_SECOND = 30;

/** The viewer is a part of its own, so that the wall does not wait for it. */
export const loadViewer = (): Promise<typeof RFB> => import("@novnc/novnc").then((module) => module.default);

/** One connection to a desktop's screen, by RFB over a WebSocket. Made anew for every try. */
export class VncScreen implements Screen {
  readonly rung = "vnc";
  private readonly rfb: RFB;
  private pictured = false;
  private ended = false;
  /** RFB has no sound. */
  muted = true;

  /** Connects at once and shows the screen inside `holder`; whatever happens is told to `events`. */
  constructor(
    Rfb: typeof RFB,
    private readonly holder: HTMLElement,
    path: string,
    ticket: string,
    private readonly events: ScreenEvents,
  ) {
    const socket = new WebSocket(socketUrl(path), [`ticket.${ticket}`, "binary"]);
    // Before RFB listens: its own listener takes the canvas away.
    socket.addEventListener("close", () => this.end());
    this.rfb = new Rfb(holder, socket, { shared: true });
    this.rfb.background = "transparent";
    this.rfb.addEventListener("connect", () => this.awaitPicture());
    // noVNC releases held keys when the window loses the focus. When only the screen loses it (to the bar,
    // say), their releases would go elsewhere and the desktop would be left with a stuck Ctrl.
    this.canvas?.addEventListener("blur", () => window.dispatchEvent(new Event("blur")));
    this.rfb.addEventListener("clipboard", (event) => events.onClipboard(event.detail.text));
  }

  set drives(on: boolean) {
    this.rfb.viewOnly = !on;
  }

  set fitted(on: boolean) {
    this.rfb.scaleViewport = on;
  }

  focus(): void {
    this.rfb.focus({ preventScroll: true });
  }

  press(chord: readonly Key[]): void {
    for (const key of chord) this.hold(key, true);
    for (const key of [...chord].reverse()) this.hold(key, false);
  }

  type(text: string): void {
    for (const character of text) this.press([{ keysym: keysymOf(character), code: null }]);
  }

  hold(key: Key, down: boolean): void {
    this.rfb.sendKey(key.keysym, key.code, down);
  }

  /** RFB's own clipboard is Latin-1. */
  paste(text: string): boolean {
    this.rfb.clipboardPasteFrom(text);
    return !/[^\0-\xff]/.test(text);
  }

  speak(): boolean {
    return false;
  }

  stream(): MediaStream | null {
    return this.pictured && this.canvas ? this.canvas.captureStream(PICTURES_A_SECOND) : null;
  }

  frame(): HTMLCanvasElement | null {
    return this.pictured && this.canvas ? copyOf(this.canvas) : null;
  }

  /** RFB tells nothing of itself: the round trip is the session's. */
  async figures(): Promise<Figures> {
    return { rung: "vnc", p50: null, p95: null, fps: null, kbps: null, loss: null, roundTrip: null, codec: "" };
  }

  /** RFB tells nothing of what was taken. */
  async settle(): Promise<void> {}

  takeOver(): void {}

  picture(): Promise<Blob | null> {
    return new Promise((resolve) => this.rfb.toBlob(resolve, "image/png"));
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.rfb.disconnect();
  }

  private get canvas(): HTMLCanvasElement | null {
    return this.holder.querySelector("canvas");
  }

  private awaitPicture(): void {
    if (this.ended) return;
    if (this.canvas && painted(this.canvas)) {
      this.pictured = true;
      this.events.onPicture();
    } else {
      requestAnimationFrame(() => this.awaitPicture());
    }
  }

  private end(): void {
    if (this.ended) return;
    this.ended = true;
    this.events.onEnd(this.frame());
  }
}

/** The X keysym of a character (X11 protocol, appendix A: Latin-1 as it is, the rest with a flag). */
export function keysymOf(character: string): number {
  const point = character.codePointAt(0) ?? 0;
  const latin1 = (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff);
  return latin1 ? point : 0x01000000 + point;
}

/** Whether all four corners have been painted: before, a canvas is transparent. */
function painted(canvas: HTMLCanvasElement): boolean {
  const { width, height } = canvas;
  if (width === 0 || height === 0) return false;
  const probe = document.createElement("canvas");
  [probe.width, probe.height] = [2, 2];
  const context = probe.getContext("2d", { willReadFrequently: true });
  if (!context) return false;
  for (const [x, y] of [[0, 0], [1, 0], [0, 1], [1, 1]] as const) {
    context.drawImage(canvas, x * (width - 1), y * (height - 1), 1, 1, x, y, 1, 1);
  }
  const { data } = context.getImageData(0, 0, 2, 2);
  return [3, 7, 11, 15].every((alpha) => data[alpha] !== 0);
}

export function copyOf(canvas: HTMLCanvasElement): HTMLCanvasElement {
  const copy = document.createElement("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  copy.getContext("2d")?.drawImage(canvas, 0, 0);
  return copy;
}
