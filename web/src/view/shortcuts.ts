import { useEffect, useRef } from "preact/hooks";
import { text } from "../text";

// Ctrl+Alt alone is AltGr on many keyboards, and Ctrl+Shift belongs to terminals.
const CHORD = "Ctrl Alt Shift";

/** A tool's name with its shortcut, as shown under the pointer. */
export function withShortcut(label: string, letter: string): string {
  return `${label}\n${text.view.shortcut(`${CHORD} ${letter}`)}`;
}

/** Calls `act` with the letter of a chord, before the remote screen can see the key. */
export function useShortcuts(act: (letter: string) => void): void {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent): void => {
      const letter = /^Key([A-Z])$/.exec(event.code)?.[1];
      if (!letter || !event.ctrlKey || !event.altKey || !event.shiftKey) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (!event.repeat) latest.current(letter);
    };
    window.addEventListener("keydown", onKeyDown, true);
    return () => window.removeEventListener("keydown", onKeyDown, true);
  }, []);
}
