import Keyboard from "novnc-keyboard";

/** Where input goes: `reliable` in order and whole, `lossy` as it comes. */
export interface Wire {
  reliable(message: object): void;
  lossy(message: object): void;
  /** The desktop's size in its pixels. */
  size(): { width: number; height: number };
}

const HEARTBEAT_MS = 500;
const NOTCH = 120;
const PIXELS_A_NOTCH = 100;
const PIXELS_A_LINE = 40;
// DOM buttons (left, middle, right, back, forward) as X numbers them.
const BUTTONS = [1, 2, 3, 8, 9];

/** Keys and pointer of one element, sent on. Nothing stays down: not on blur, not on hiding, not at the end. */
export class Hands {
  /** Called with the id of each key and button that goes down, before it is sent. */
  onInput: (id: number) => void = () => {};
  enabled = false;
  private readonly keyboard: Keyboard;
  private readonly keys = new Map<string, number>();
  private readonly buttons = new Set<number>();
  private readonly stop = new AbortController();
  private readonly timer: number;
  private ids = 0;
  private moves = 0;
  private wheel = { dx: 0, dy: 0 };

  constructor(
    private readonly target: HTMLElement,
    private readonly wire: Wire,
  ) {
    this.keyboard = new Keyboard(target);
    this.keyboard.onkeyevent = (keysym, code, down) => this.key(keysym, code, down);
    this.keyboard.grab();
    const { signal } = this.stop;
    const on = <K extends keyof HTMLElementEventMap>(kind: K, act: (event: HTMLElementEventMap[K]) => void): void =>
      target.addEventListener(kind, act, { signal, passive: false });
    on("pointerdown", (event) => this.button(event, true));
    on("pointerup", (event) => this.button(event, false));
    on("pointercancel", () => this.release());
    on("pointermove", (event) => this.move(event));
    on("wheel", (event) => this.roll(event));
    on("contextmenu", (event) => event.preventDefault());
    on("blur", () => this.release());
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

  release(): void {
    if (this.keys.size === 0 && this.buttons.size === 0) return;
    this.keys.clear();
    this.buttons.clear();
    this.wire.reliable({ type: "release" });
  }

  end(): void {
    this.release();
    clearInterval(this.timer);
    this.stop.abort();
    this.keyboard.ungrab();
  }

  /** Where on the desktop an event is, with the picture fitted into the element and centred. */
  private at(event: MouseEvent): { x: number; y: number } {
    const box = this.target.getBoundingClientRect();
    const { width, height } = this.wire.size();
    const scale = Math.min(box.width / width, box.height / height) || 1;
    const within = (value: number, most: number): number => Math.max(0, Math.min(most - 1, Math.round(value)));
    return {
      x: within((event.clientX - box.left - (box.width - width * scale) / 2) / scale, width),
      y: within((event.clientY - box.top - (box.height - height * scale) / 2) / scale, height),
    };
  }

  private button(event: PointerEvent, down: boolean): void {
    event.preventDefault();
    if (down) {
      this.target.focus({ preventScroll: true });
      this.target.setPointerCapture(event.pointerId);
      if (!this.enabled) return;
    }
    const button = BUTTONS[event.button];
    if (button === undefined || down === this.buttons.has(button)) return;
    if (down) this.buttons.add(button);
    else this.buttons.delete(button);
    this.wire.reliable({ type: "button", button, down, ...this.at(event), ...this.numbered(down) });
  }

  private move(event: PointerEvent): void {
    if (this.enabled) this.wire.lossy({ type: "move", ...this.at(event), n: ++this.moves });
  }

  private roll(event: WheelEvent): void {
    event.preventDefault();
    if (!this.enabled) return;
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? NOTCH / PIXELS_A_NOTCH : (NOTCH * PIXELS_A_LINE) / PIXELS_A_NOTCH;
    this.wheel.dx += event.deltaX * unit;
    this.wheel.dy += event.deltaY * unit;
    const [dx, dy] = [Math.trunc(this.wheel.dx), Math.trunc(this.wheel.dy)];
    this.wheel.dx -= dx;
    this.wheel.dy -= dy;
    if (dx || dy) this.wire.lossy({ type: "wheel", dx, dy, ...this.at(event), n: ++this.moves });
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
