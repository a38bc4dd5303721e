import Keyboard from "novnc-keyboard";
import { text } from "../text";

/** Where what is typed goes. `code` tells held keys apart. */
export interface Typist {
  key(keysym: number, code: string, down: boolean): void;
  text(text: string): void;
  /** Bring what is pasted here to the desktop; null if nothing is to be brought, and the key is a key. */
  paste(data: DataTransfer): Promise<void> | null;
}

const BACKSPACE = 0xff08;
const RETURN = 0xff0d;
// A browser tells of what is pasted within this time after its key, or not at all.
const PASTE_MS = 150;

/** A field over the screen that nobody sees: keys arrive in it, what an input method or dead keys compose, what a
 * telephone's keyboard writes, and what is pasted. */
export class Typing {
  readonly field = document.createElement("textarea");
  private readonly keyboard: Keyboard;
  private readonly stop = new AbortController();
  /** What was typed while something is pasted waits until that has come. */
  private waiting: (() => void)[] | null = null;
  private awaited: { code: string; timer: number } | null = null;
  private composed = false;

  constructor(
    holder: HTMLElement,
    private readonly typist: Typist,
  ) {
    const { field } = this;
    Object.assign(field, { className: "typing", autocomplete: "off", autocapitalize: "off", spellcheck: false, rows: 1 });
    field.setAttribute("aria-label", text.view.typeHere);
    field.setAttribute("autocorrect", "off");
    // A telephone's keyboard comes when it is asked for, not with every touch.
    if (matchMedia("(pointer: coarse)").matches) field.inputMode = "none";
    holder.append(field);
    const { signal } = this.stop;
    const on = <K extends keyof HTMLElementEventMap>(kind: K, act: (event: HTMLElementEventMap[K]) => void): void =>
      field.addEventListener(kind, act, { signal, capture: true });
    on("keydown", (event) => this.before(event));
    on("compositionstart", () => (this.composed = true));
    on("compositionend", (event) => this.chosen(event.data));
    on("beforeinput", (event) => this.written(event as InputEvent));
    on("paste", (event) => this.pasted(event as ClipboardEvent));
    on("blur", () => this.release());
    this.keyboard = new Keyboard(field);
    this.keyboard.onkeyevent = (keysym, code, down) => this.do(() => this.typist.key(keysym, code, down));
    this.keyboard.grab();
  }

  focus(): void {
    this.field.focus({ preventScroll: true });
  }

  /** Where an input method shows what it offers. */
  place(x: number, y: number): void {
    this.field.style.left = `${Math.max(0, x)}px`;
    this.field.style.top = `${Math.max(0, y)}px`;
  }

  /** Let go of every key. */
  release(): void {
    this.keyboard.ungrab();
    this.keyboard.grab();
  }

  end(): void {
    this.stop.abort();
    this.keyboard.ungrab();
    clearTimeout(this.awaited?.timer);
    this.field.remove();
  }

  /** In order, also while something is pasted. */
  private do(act: () => void): void {
    if (this.waiting) this.waiting.push(act);
    else act();
  }

  /** Before the keyboard sees a key: what the field has to compose or to paste is the browser's. */
  private before(event: KeyboardEvent): void {
    const composing = event.isComposing || event.keyCode === 229 || event.key === "Dead" || event.key === "Process";
    if (composing) event.stopImmediatePropagation();
    else if (isPaste(event)) {
      event.stopImmediatePropagation();
      if (event.repeat || this.awaited) return;
      const timer = window.setTimeout(() => this.unanswered(), PASTE_MS);
      this.awaited = { code: event.code, timer };
    }
  }

  private chosen(data: string): void {
    this.composed = false;
    this.field.value = "";
    if (data) this.do(() => this.typist.text(data));
  }

  /** What comes without a key, from a telephone. */
  private written(event: InputEvent): void {
    // What an input method composes stays here until it is chosen.
    if (this.composed || event.inputType === "insertCompositionText") return;
    event.preventDefault();
    if (event.inputType === "deleteContentBackward") this.press(BACKSPACE);
    else if (event.inputType === "insertLineBreak") this.press(RETURN);
    else if (event.data) {
      const { data } = event;
      this.do(() => this.typist.text(data));
    }
  }

  private press(keysym: number): void {
    for (const down of [true, false]) this.do(() => this.typist.key(keysym, `U${keysym}`, down));
  }

  private pasted(event: ClipboardEvent): void {
    event.preventDefault();
    const bringing = event.clipboardData ? this.typist.paste(event.clipboardData) : null;
    const code = this.answered();
    if (!bringing) return code ? this.pressPaste(code) : undefined;
    const behind: (() => void)[] = [];
    this.waiting = behind;
    void bringing.finally(() => {
      this.waiting = null;
      // By the menu: the keys that paste there are pressed for it.
      if (code) this.pressPaste(code);
      for (const act of behind) this.do(act);
    });
  }

  private unanswered(): void {
    const code = this.answered();
    if (code) this.pressPaste(code);
  }

  private answered(): string {
    const code = this.awaited?.code ?? "";
    clearTimeout(this.awaited?.timer);
    this.awaited = null;
    return code;
  }

  /** Ctrl, or Shift, is down by itself. */
  private pressPaste(code: string): void {
    const keysym = code === "Insert" ? 0xff63 : 0x76;
    for (const down of [true, false]) this.typist.key(keysym, code, down);
  }
}

function isPaste(event: KeyboardEvent): boolean {
  if (event.altKey) return false;
  if (event.code === "KeyV") return event.ctrlKey || event.metaKey;
  return event.code === "Insert" && event.shiftKey && !event.ctrlKey;
}
