import { useEffect, useRef, useState } from "preact/hooks";
import type { Desktop } from "../api/types";
import { Cell, useCell } from "../cell";
import { Dialog } from "../parts/dialog";
import { desktopPath, go } from "../route";
import { desktops, mayControl, signOut, visibleTables, who } from "../session";
import { text } from "../text";
import { creating } from "./create";

/** Whether the command palette is open. */
export const palette = new Cell(false);

interface Command {
  name: string;
  run: () => unknown;
}

/** Every verb, a few letters away. */
export function Palette() {
  const open = useCell(palette);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent): void => {
      if (event.key !== "k" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
      if (who.value.kind !== "person" || inRemoteScreen()) return;
      event.preventDefault();
      palette.set(!palette.value);
    };
    document.addEventListener("keydown", onKeyDown, true);
    return () => document.removeEventListener("keydown", onKeyDown, true);
  }, []);
  return open ? <PaletteDialog /> : null;
}

/** A desktop that has the keyboard keeps every key. */
function inRemoteScreen(): boolean {
  return document.activeElement instanceof HTMLCanvasElement;
}

function PaletteDialog() {
  const [query, setQuery] = useState("");
  const [at, setAt] = useState(0);
  const list = useRef<HTMLUListElement>(null);
  const close = (): void => palette.set(false);
  const found = commands().filter((command) => fits(command.name, query));
  const chosen = Math.min(at, found.length - 1);
  useEffect(() => {
    list.current?.children[chosen]?.scrollIntoView({ block: "nearest" });
  }, [chosen]);
  const run = (command: Command | undefined): void => {
    if (!command) return;
    close();
    command.run();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) setAt((chosen + step + found.length) % Math.max(1, found.length));
    else if (event.key === "Enter") run(found[chosen]);
    else return;
    event.preventDefault();
  };
  return (
    <Dialog label={text.palette.title} kind="palette" onClose={close}>
      <input
        class="palette-query"
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={found.length ? `command-${chosen}` : undefined}
        aria-label={text.palette.placeholder}
        placeholder={text.palette.placeholder}
        value={query}
        autofocus
        onKeyDown={onKeyDown}
        onInput={(event) => {
          setQuery(event.currentTarget.value);
          setAt(0);
        }}
      />
      <ul class="palette-list" id="palette-list" role="listbox" aria-label={text.palette.title} ref={list}>
        {found.map((command, n) => (
          <li
            key={command.name}
            id={`command-${n}`}
            role="option"
            aria-selected={n === chosen}
            onPointerMove={() => setAt(n)}
            onClick={() => run(command)}
          >
            {command.name}
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="palette-nothing">{text.palette.nothing}</p>}
    </Dialog>
  );
}

/** Whether every word of `query` begins somewhere in `name`. */
function fits(name: string, query: string): boolean {
  const low = name.toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => low.includes(word));
}

function create(): void {
  go("/");
  creating.set(true);
}

function commands(): Command[] {
  const all = desktops.list.value ?? [];
  return [
    ...all.map(({ name }) => ({ name: text.palette.open(name), run: () => go(desktopPath(name)) })),
    ...(mayControl() ? changes(all) : []),
    { name: text.palette.go(text.nav.desktops), run: () => go("/") },
    ...visibleTables().map((table) => ({
      name: text.palette.go(text.nav[table]),
      run: () => go(`/${table}`),
    })),
    { name: text.nav.logout, run: () => signOut() },
  ];
}

function changes(all: readonly Desktop[]): Command[] {
  return [
    { name: text.wall.create, run: create },
    ...all
      .filter(({ state }) => state === "stopped" || state === "failed")
      .map((desktop) => ({ name: text.palette.start(desktop.name), run: () => desktops.boot(desktop) })),
    ...all
      .filter(({ state }) => state === "running")
      .map((desktop) => ({ name: text.palette.pause(desktop.name), run: () => desktops.pause(desktop) })),
    ...all
      .filter(({ state }) => state === "paused")
      .map((desktop) => ({ name: text.palette.resume(desktop.name), run: () => desktops.resume(desktop) })),
    ...all
      .filter(({ state }) => state === "running")
      .map((desktop) => ({ name: text.palette.stop(desktop.name), run: () => desktops.shutDown(desktop) })),
  ];
}
