import { useEffect, useRef, useState } from "preact/hooks";
import { text } from "../text";
import type { Key } from "./screen";
import type { Viewing } from "./viewing";

// X keysyms (X11/keysymdef.h) with the names of UI Events KeyboardEvent code Values.
const key = (keysym: number, code: string): Key => ({ keysym, code });
const CTRL = key(0xffe3, "ControlLeft");
const ALT = key(0xffe9, "AltLeft");
const SHIFT = key(0xffe1, "ShiftLeft");
const SUPER = key(0xffeb, "MetaLeft");
const TAB = key(0xff09, "Tab");
const BACKSPACE = key(0xff08, "Backspace");
const RETURN = key(0xff0d, "Enter");

const HELD: readonly [string, Key][] = [
  ["Ctrl", CTRL],
  ["Alt", ALT],
  ["Shift", SHIFT],
  ["Super", SUPER],
];

const CHORDS: readonly [string, readonly Key[]][] = [
  ["Ctrl Alt Del", [CTRL, ALT, key(0xffff, "Delete")]],
  ["Alt Tab", [ALT, TAB]],
  ["Alt F4", [ALT, key(0xffc1, "F4")]],
  ["Esc", [key(0xff1b, "Escape")]],
  ["Tab", [TAB]],
  ["Super", [SUPER]],
  ["F11", [key(0xffc8, "F11")]],
  ["Print", [key(0xff61, "PrintScreen")]],
  ["←", [key(0xff51, "ArrowLeft")]],
  ["↑", [key(0xff52, "ArrowUp")]],
  ["↓", [key(0xff54, "ArrowDown")]],
  ["→", [key(0xff53, "ArrowRight")]],
];

/** Keys that the browser or a telephone does not let through. */
export function KeysPanel({ viewing }: { viewing: Viewing }) {
  const press = (chord: readonly Key[]): void => viewing.screen.value?.press(chord);
  return (
    <section class="keys" aria-label={text.view.keys}>
      <p class="panel-help">{text.view.keysHelp}</p>
      <HeldKeys viewing={viewing} />
      <div class="key-grid">
        {CHORDS.map(([name, chord]) => (
          <button key={name} type="button" class="key" onClick={() => press(chord)}>
            {name}
          </button>
        ))}
      </div>
      <SoftKeyboard onKey={(one) => press([one])} onText={(written) => viewing.screen.value?.type(written)} />
    </section>
  );
}

/** Keys that stay down until they are pressed again or the panel closes. */
function HeldKeys({ viewing }: { viewing: Viewing }) {
  const [down, setDown] = useState<ReadonlySet<string>>(new Set());
  const latest = useRef(down);
  latest.current = down;
  useEffect(
    () => () => {
      for (const [name, held] of HELD) if (latest.current.has(name)) viewing.screen.value?.hold(held, false);
    },
    [viewing],
  );
  const toggle = (name: string, held: Key): void => {
    const next = new Set(down);
    if (!next.delete(name)) next.add(name);
    viewing.screen.value?.hold(held, next.has(name));
    setDown(next);
  };
  return (
    <div class="key-grid">
      {HELD.map(([name, held]) => (
        <button
          key={name}
          type="button"
          class="key"
          aria-pressed={down.has(name)}
          onClick={() => toggle(name, held)}
        >
          {name}
        </button>
      ))}
    </div>
  );
}

interface SoftKeyboardProps {
  onKey: (key: Key) => void;
  onText: (text: string) => void;
}

/** A field that brings up a telephone's keyboard, or an input method, and sends on what is written in it. */
function SoftKeyboard({ onKey, onText }: SoftKeyboardProps) {
  const onBeforeInput = (event: InputEvent): void => {
    // What an input method composes stays here until it is chosen.
    if (event.inputType === "insertCompositionText") return;
    event.preventDefault();
    if (event.inputType === "deleteContentBackward") onKey(BACKSPACE);
    else if (event.inputType === "insertLineBreak") onKey(RETURN);
    else if (event.data) onText(event.data);
  };
  const onCompositionEnd = (event: CompositionEvent & { currentTarget: HTMLInputElement }): void => {
    event.currentTarget.value = "";
    if (event.data) onText(event.data);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    // An empty field tells of no deletion and a one-line field of no line break.
    if (event.isComposing) return;
    const plain = { Backspace: BACKSPACE, Enter: RETURN }[event.key];
    if (!plain) return;
    event.preventDefault();
    onKey(plain);
  };
  return (
    <input
      class="soft-keyboard"
      type="text"
      autocomplete="off"
      autocapitalize="off"
      spellcheck={false}
      placeholder={text.view.type}
      aria-label={text.view.type}
      onBeforeInput={onBeforeInput}
      onCompositionEnd={onCompositionEnd}
      onKeyDown={onKeyDown}
    />
  );
}
