import { Gestures } from "./gestures";
import { Lens } from "./lens";
import { Typing } from "./typing";

/** Where input goes: `reliable` in order and whole, `lossy` as it comes. */
export interface Wire {
  reliable(message: object): void;
  lossy(message: object): void;
  /** The desktop's size in its pixels. */
  size(): { width: number; height: number };
  paste(data: DataTransfer): Promise<void> | null;
}

const HEARTBEAT_MS = 500;
const NOTCH = 120;
const PIXELS_A_NOTCH = 100;
const PIXELS_A_LINE = 40;
// Fingers push the page itself: a notch moves most pages so far.
const PIXELS_A_PUSH = 53;
// DOM buttons (left, middle, right, back, forward) as X numbers them.
const BUTTONS = [1, 2, 3, 8, 9];

/** Keys and pointer of one element, sent on. Nothing stays down: not on blur, not on hiding, not at the end. */
export class Hands {
  /** Called with the id of each key and button that goes down, before it is sent. */
  onInput: (id: number) => void = () => {};
  enabled = false;
  /** While the pointer is locked: where the desktop's is thought to be. */
  onPlace: (place: { x: number; y: number } | null) => void = () => {};
  private readonly typing: Typing;
  private readonly gestures: Gestures;
  private locked: { x: number; y: number } | null = null;
  private readonly keys = new Map<string, number>();
  private readonly buttons = new Set<number>();
  private readonly stop = new AbortController();
  private readonly timer: number;
  private ids = 0;
  private moves = 0;
  private wheel = { dx: 0, dy: 0 };
  private rest = { x: 0, y: 0 };
  private last = { x: 0, y: 0 };

  constructor(
    private readonly target: HTMLElement,
    private readonly wire: Wire,
  ) {
    this.typing = new Typing(target.parentElement ?? document.body, {
      key: (keysym, code, down) => this.key(keysym, code, down),
      text: (text) => this.text(text),
      paste: (data) => (this.enabled ? wire.paste(data) : null),
    });
    const lens = new Lens(target);
    this.gestures = new Gestures({
      move: (x, y) => this.moveTo(this.on(x, y)),
      button: (button, down, x, y) => this.press(button, down, this.on(x, y)),
      scroll: (dx, dy, x, y) => this.turn(-this.pushed(dx), -this.pushed(dy), this.on(x, y)),
      zoom: (by, x, y, dx, dy) => lens.zoom(by, x, y, dx, dy),
    });
    const { signal } = this.stop;
    const on = <K extends keyof HTMLElementEventMap>(kind: K, act: (event: HTMLElementEventMap[K]) => void): void =>
      target.addEventListener(kind, act, { signal, passive: false });
    on("pointerdown", (event) => (isFinger(event) ? this.touched(event) : this.button(event, true)));
    on("pointerup", (event) => (isFinger(event) ? this.gestures.up(event.pointerId) : this.button(event, false)));
    on("pointercancel", () => this.release());
    on("pointermove", (event) =>
      isFinger(event) ? this.gestures.move(event.pointerId, event.clientX, event.clientY) : this.move(event));
    on("wheel", (event) => this.roll(event));
    on("contextmenu", (event) => event.preventDefault());
    // Whoever gives the picture the focus means the field that takes the keys.
    on("focus", () => this.focus());
    this.typing.field.addEventListener("blur", () => this.release(), { signal });
    document.addEventListener("pointerlockchange", () => this.lockChanged(), { signal });
    window.addEventListener("blur", () => this.release(), { signal });
    document.addEventListener("visibilitychange", () => document.hidden && this.release(), { signal });
    this.timer = window.setInterval(() => this.beat(), HEARTBEAT_MS);
  }

  /** A key by its keysym; `code` tells held keys apart. */
  key(keysym: number, code: string, down: boolean): void {
    if (!this.enabled && down) return;
    // The guest repeats by itself: a second "down" would be a second press.
    if (down === this.keys.has(code)) return;
    const held = down ? keysym : (this.keys.get(code) ?? keysym);
    if (down) this.keys.set(code, keysym);
    else this.keys.delete(code);
    // A modifier alone changes nothing on the screen: it tells nothing of the latency.
    const measured = down && !(keysym >= 0xffe1 && keysym <= 0xffee);
    this.wire.reliable({ type: "key", keysym: held, down, ...this.numbered(measured) });
  }

  text(text: string): void {
    if (!this.enabled) return;
    this.wire.reliable({ type: "text", text });
  }

  focus(): void {
    this.typing.focus();
  }

  /** Movements go to the desktop, wherever the pointer is; Esc ends that. Rejects if the browser will not. */
  async lock(): Promise<void> {
    // Without the system's acceleration, where the browser can: the desktop has its own.
    const ask = this.target.requestPointerLock.bind(this.target) as (options?: object) => Promise<void> | void;
    try {
      await ask({ unadjustedMovement: true });
    } catch (error) {
      if (!(error instanceof DOMException) || error.name !== "NotSupportedError") throw error;
      await ask();
    }
  }

  release(): void {
    this.gestures.cancel();
    if (this.keys.size === 0 && this.buttons.size === 0) return;
    this.keys.clear();
    this.buttons.clear();
    this.wire.reliable({ type: "release" });
  }

  end(): void {
    this.release();
    clearInterval(this.timer);
    this.stop.abort();
    this.typing.end();
    if (document.pointerLockElement === this.target) document.exitPointerLock();
  }

  /** Where on the desktop a place of the window is, with the picture fitted into the element and centred. */
  private on(clientX: number, clientY: number): { x: number; y: number } {
    const { box, scale, width, height } = this.shape();
    return {
      x: within((clientX - box.left - (box.width - width * scale) / 2) / scale, width),
      y: within((clientY - box.top - (box.height - height * scale) / 2) / scale, height),
    };
  }

  private shape(): { box: DOMRect; scale: number; width: number; height: number } {
    const box = this.target.getBoundingClientRect();
    const { width, height } = this.wire.size();
    return { box, width, height, scale: Math.min(box.width / width, box.height / height) || 1 };
  }

  private touched(event: PointerEvent): void {
    event.preventDefault();
    this.focus();
    this.target.setPointerCapture(event.pointerId);
    this.gestures.down(event.pointerId, event.clientX, event.clientY);
  }

  private button(event: PointerEvent, down: boolean): void {
    event.preventDefault();
    if (down) {
      this.focus();
      this.typing.place(event.clientX, event.clientY);
      if (!this.locked) this.target.setPointerCapture(event.pointerId);
    }
    const button = BUTTONS[event.button];
    if (button !== undefined) this.press(button, down, this.locked ? {} : this.on(event.clientX, event.clientY));
  }

  private press(button: number, down: boolean, place: { x?: number; y?: number }): void {
    if (!this.enabled && down) return;
    if (down === this.buttons.has(button)) return;
    if (down) this.buttons.add(button);
    else this.buttons.delete(button);
    this.wire.reliable({ type: "button", button, down, ...place, ...this.numbered(down) });
  }

  private move(event: PointerEvent): void {
    if (this.locked) this.moveBy(event.movementX, event.movementY);
    else this.moveTo(this.on(event.clientX, event.clientY));
  }

  private moveTo(place: { x: number; y: number }): void {
    this.last = place;
    if (this.enabled) this.wire.lossy({ type: "move", ...place, n: ++this.moves });
  }

  private moveBy(x: number, y: number): void {
    const { scale, width, height } = this.shape();
    this.rest.x += x / scale;
    this.rest.y += y / scale;
    const [dx, dy] = [Math.trunc(this.rest.x), Math.trunc(this.rest.y)];
    if (!this.enabled || (!dx && !dy)) return;
    this.rest.x -= dx;
    this.rest.y -= dy;
    // In order and whole: a movement that is lost is lost for good.
    this.wire.reliable({ type: "by", dx, dy });
    this.last = { x: within(this.last.x + dx, width), y: within(this.last.y + dy, height) };
    this.placed();
  }

  private lockChanged(): void {
    this.locked = document.pointerLockElement === this.target ? this.last : null;
    this.placed();
  }

  private placed(): void {
    if (!this.locked) return this.onPlace(null);
    const { box, scale, width, height } = this.shape();
    this.onPlace({
      x: box.left + (box.width - width * scale) / 2 + this.last.x * scale,
      y: box.top + (box.height - height * scale) / 2 + this.last.y * scale,
    });
  }

  private roll(event: WheelEvent): void {
    event.preventDefault();
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? NOTCH / PIXELS_A_NOTCH : (NOTCH * PIXELS_A_LINE) / PIXELS_A_NOTCH;
    this.turn(event.deltaX * unit, event.deltaY * unit, this.on(event.clientX, event.clientY));
  }

  /** By parts of a notch, 120 each; what is less than one is kept. */
  private turn(x: number, y: number, place: { x: number; y: number }): void {
    if (!this.enabled) return;
    this.wheel.dx += x;
    this.wheel.dy += y;
    const [dx, dy] = [Math.trunc(this.wheel.dx), Math.trunc(this.wheel.dy)];
    this.wheel.dx -= dx;
    this.wheel.dy -= dy;
    if (dx || dy) this.wire.lossy({ type: "wheel", dx, dy, ...place, n: ++this.moves });
  }

  private pushed(pixels: number): number {
    return ((pixels / this.shape().scale) * NOTCH) / PIXELS_A_PUSH;
  }

  private beat(): void {
    if (this.keys.size === 0 && this.buttons.size === 0) return;
    this.wire.reliable({ type: "held", keysyms: [...this.keys.values()], buttons: [...this.buttons] });
  }

  private numbered(down: boolean): { id?: number } {
    if (!down) return {};
    this.onInput(++this.ids);
    return { id: this.ids };
  }
}

const isFinger = (event: PointerEvent): boolean => event.pointerType === "touch";

const within = (value: number, most: number): number => Math.max(0, Math.min(most - 1, Math.round(value)));
