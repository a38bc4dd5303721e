const MOST = 5;

/** Magnifies an element that fills its window, and never shows what is beside it. */
export class Lens {
  private scale = 1;
  private left = 0;
  private top = 0;

  constructor(private readonly on: HTMLElement) {
    on.style.transformOrigin = "0 0";
  }

  /** By a factor, around a place of the window that is then pushed by so much. */
  zoom(by: number, x: number, y: number, dx: number, dy: number): void {
    const scale = Math.min(MOST, Math.max(1, this.scale * by));
    const grown = scale / this.scale;
    this.left = within(x - (x - dx - this.left) * grown, innerWidth * (1 - scale));
    this.top = within(y - (y - dy - this.top) * grown, innerHeight * (1 - scale));
    this.scale = scale;
    this.on.style.transform = scale === 1 ? "" : `translate(${this.left}px, ${this.top}px) scale(${scale})`;
  }
}

const within = (value: number, least: number): number => Math.min(0, Math.max(least, value));
