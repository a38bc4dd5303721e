/** A message that is told apart from all others by its number. */
type Numbered = object & { s: number };

// More than a second of typing and dragging: so often the desktop says what it has taken.
const MOST_UNSURE = 2000;
// Beside, many go as one, and some in a second: that way counts its messages.
const GATHER_MS = 80;
const MOST_AT_ONCE = 200;
const MOST_CHARACTERS = 32_000;
// Another screen takes over the hands: so long it waits for what was said beside.
const SETTLED_MS = 500;

/**
 * Each message arrives once and in order, although the channel it goes by may stall: what the desktop has not
 * said to have taken is then said again `beside`, by a way that stands, and so is all that follows. The desktop
 * goes by the numbers.
 */
export class Sure {
  private numbers = 0;
  private taken = 0;
  private unsure: Numbered[] = [];
  private gathered: Numbered[] = [];
  private clear = true;
  private hurry = false;
  private timer = 0;
  private settled: () => void = () => {};
  private held: object[] | null = null;

  constructor(
    /** False if it does not take any. */
    private readonly channel: (message: object) => boolean,
    private readonly beside: (messages: readonly object[]) => void,
  ) {}

  send(message: object): void {
    if (this.held) {
      this.held.push(message);
      return;
    }
    const numbered = { ...message, s: ++this.numbers };
    if (!this.clear || !this.channel(numbered)) return this.gather([numbered]);
    this.unsure.push(numbered);
    if (this.unsure.length >= MOST_UNSURE) this.stall();
  }

  /** The desktop has taken everything up to number `s`; whether it said so over the channel: then that passes. */
  took(s: number, overChannel: boolean): void {
    this.taken = Math.max(this.taken, s);
    this.unsure = this.unsure.filter((message) => message.s > s);
    if (overChannel) this.clear = true;
    if (this.taken >= this.numbers) this.settled();
  }

  /** Nothing is known to pass over the channel any more. */
  stall(): void {
    this.clear = false;
    this.gather(this.unsure);
    this.unsure = [];
  }

  /** Say what is left, and resolve when the desktop has taken it all, or does not say so for too long. */
  async settle(): Promise<void> {
    this.hurry = true;
    this.stall();
    this.flush();
    if (this.taken < this.numbers) {
      await new Promise<void>((resolve) => {
        this.settled = resolve;
        setTimeout(resolve, SETTLED_MS);
      });
    }
    this.hurry = false;
  }

  /** Keep everything for `ms`: what went by another way is there then. */
  hold(ms: number): void {
    this.held = [];
    setTimeout(() => this.release(), ms);
  }

  /** Say what is left, now. */
  end(): void {
    this.release();
    this.stall();
    this.flush();
  }

  private release(): void {
    const held = this.held ?? [];
    this.held = null;
    for (const message of held) this.send(message);
  }

  private gather(messages: readonly Numbered[]): void {
    this.gathered.push(...messages);
    if (this.hurry) this.flush();
    else if (this.gathered.length > 0) this.timer ||= window.setTimeout(() => this.flush(), GATHER_MS);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = 0;
    while (this.gathered.length > 0) {
      let [count, size] = [0, 0];
      do size += JSON.stringify(this.gathered[count++]).length;
      while (count < this.gathered.length && count < MOST_AT_ONCE && size < MOST_CHARACTERS);
      this.beside(this.gathered.splice(0, count));
    }
  }
}
