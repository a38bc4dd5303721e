/** What fingers do, in pixels of the window. */
export interface Pointing {
  move(x: number, y: number): void;
  button(button: number, down: boolean, x: number, y: number): void;
  /** The page under the fingers is pushed by so much. */
  scroll(dx: number, dy: number, x: number, y: number): void;
  /** Magnify around a place, and push it by so much. */
  zoom(by: number, x: number, y: number, dx: number, dy: number): void;
}

interface Finger {
  x: number;
  y: number;
}

const LEFT = 1;
const RIGHT = 3;
const LONG_MS = 550;
const STEADY = 10;
const PINCHED = 24;
const AGAIN_MS = 400;
const AGAIN_AWAY = 24;

/** Tap: click. Long press, or a tap of two: right click. Drag: drag. Two together: scroll. Two apart: magnify. */
export class Gestures {
  private readonly fingers = new Map<number, Finger>();
  private doing: "nothing" | "tap" | "drag" | "pair" | "scroll" | "pinch" | "over" = "nothing";
  private began: Finger = { x: 0, y: 0 };
  private pair = { x: 0, y: 0, apart: 1 };
  private timer = 0;
  private tapped = { x: 0, y: 0, at: -Infinity };

  constructor(private readonly to: Pointing) {}

  down(id: number, x: number, y: number): void {
    this.fingers.set(id, { x, y });
    clearTimeout(this.timer);
    if (this.fingers.size === 1) {
      this.doing = "tap";
      this.began = { x, y };
      this.timer = window.setTimeout(() => this.pressedLong(), LONG_MS);
    } else if (this.fingers.size === 2) {
      if (this.doing === "drag") this.to.button(LEFT, false, x, y);
      this.doing = "pair";
      this.pair = this.both();
      this.began = this.pair;
    } else {
      this.doing = "over";
    }
  }

  move(id: number, x: number, y: number): void {
    if (!this.fingers.has(id)) return;
    this.fingers.set(id, { x, y });
    if (this.doing === "tap" && away(this.began, x, y) > STEADY) {
      clearTimeout(this.timer);
      this.doing = "drag";
      this.to.button(LEFT, true, this.began.x, this.began.y);
    }
    if (this.doing === "drag") this.to.move(x, y);
    else if (this.fingers.size === 2) this.moveBoth();
  }

  up(id: number): void {
    const finger = this.fingers.get(id);
    if (!finger) return;
    this.fingers.delete(id);
    clearTimeout(this.timer);
    if (this.doing === "tap") this.tap();
    else if (this.doing === "drag") this.to.button(LEFT, false, finger.x, finger.y);
    else if (this.doing === "pair") this.click(RIGHT, this.pair);
    this.doing = this.fingers.size ? "over" : "nothing";
  }

  /** The browser took the fingers away, or nobody looks. */
  cancel(): void {
    clearTimeout(this.timer);
    if (this.doing === "drag") for (const { x, y } of this.fingers.values()) this.to.button(LEFT, false, x, y);
    this.fingers.clear();
    this.doing = "nothing";
  }

  private pressedLong(): void {
    if (this.doing !== "tap") return;
    this.doing = "over";
    this.click(RIGHT, this.began);
    navigator.vibrate?.(15);
  }

  /** Fingers never hit the same place twice; for a double click it has to be the same. */
  private tap(): void {
    const { tapped, began } = this;
    const again = performance.now() - tapped.at < AGAIN_MS && away(tapped, began.x, began.y) < AGAIN_AWAY;
    const { x, y } = again ? tapped : began;
    this.tapped = { x, y, at: performance.now() };
    this.click(LEFT, { x, y });
  }

  private click(button: number, { x, y }: Finger): void {
    for (const down of [true, false]) this.to.button(button, down, x, y);
  }

  private both(): { x: number; y: number; apart: number } {
    const [one, two] = [...this.fingers.values()] as [Finger, Finger];
    return { x: (one.x + two.x) / 2, y: (one.y + two.y) / 2, apart: Math.max(1, away(one, two.x, two.y)) };
  }

  private moveBoth(): void {
    const now = this.both();
    const { pair } = this;
    if (this.doing === "pair") {
      if (Math.abs(now.apart - pair.apart) > PINCHED) this.doing = "pinch";
      else if (away(pair, now.x, now.y) > STEADY) this.doing = "scroll";
      else return;
    }
    if (this.doing === "scroll") this.to.scroll(now.x - pair.x, now.y - pair.y, this.began.x, this.began.y);
    if (this.doing === "pinch") this.to.zoom(now.apart / pair.apart, now.x, now.y, now.x - pair.x, now.y - pair.y);
    this.pair = now;
  }
}

const away = (from: Finger, x: number, y: number): number => Math.hypot(x - from.x, y - from.y);
