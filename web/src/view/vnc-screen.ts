import type RFB from "@novnc/novnc";
import type { Figures } from "./figures";
import { copyOf, type Key, keysymOf, type Screen, type ScreenEvents } from "./screen";
import { socketUrl } from "./session";
import { Typing } from "./typing";

const PICTURES_A_SECOND = 30;

/** One connection to a desktop's screen, by RFB over a WebSocket. Made anew for every try. */
export class VncScreen implements Screen {
  readonly rung = "vnc";
  private readonly rfb: RFB;
  private readonly typing: Typing;
  private pictured = false;
  private ended = false;
  private on = false;
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
    // The keys arrive in a field of ours, as on the other rungs: what is composed or pasted does too.
    this.rfb.focusOnClick = false;
    this.typing = new Typing(holder, {
      key: (keysym, code, down) => this.rfb.sendKey(keysym, code, down),
      text: (text) => this.type(text),
      paste: (data) => (this.on ? events.onPaste(data) : null),
    });
    holder.addEventListener("pointerdown", this.focusAt);
    this.rfb.addEventListener("clipboard", () => events.onClipboard());
  }

  private readonly focusAt = (event: PointerEvent): void => {
    this.typing.place(event.clientX, event.clientY);
    this.focus();
  };

  set drives(on: boolean) {
    this.on = on;
    this.rfb.viewOnly = !on;
  }

  set fitted(on: boolean) {
    this.rfb.scaleViewport = on;
  }

  focus(): void {
    this.typing.focus();
  }

  /** noVNC knows places only. */
  lock(): null {
    return null;
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
    this.leave();
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

  private leave(): void {
    this.holder.removeEventListener("pointerdown", this.focusAt);
    this.typing.end();
  }

  private end(): void {
    if (this.ended) return;
    this.ended = true;
    this.leave();
    this.events.onEnd(this.frame());
  }
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
