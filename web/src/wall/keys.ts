import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

interface WallKeys {
  filterField: RefObject<HTMLInputElement | null>;
  grid: RefObject<HTMLElement | null>;
  onCreate: () => void;
}

/** `/` filters, `n` makes a desktop, arrows walk the cards (Enter opens: they are links). */
export function useWallKeys({ filterField, grid, onCreate }: WallKeys): void {
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      const writing = isField(event.target);
      if (event.key === "Escape" && event.target === filterField.current) filterField.current?.blur();
      else if (event.key === "/" && !writing) {
        event.preventDefault();
        filterField.current?.focus();
      } else if (event.key === "n" && !writing) {
        event.preventDefault();
        onCreate();
      } else if (event.key.startsWith("Arrow") && (!writing || event.key === "ArrowDown")) {
        walk(event, grid.current);
      }
    };
    document.addEventListener("keydown", onKeyDown);
    return () => document.removeEventListener("keydown", onKeyDown);
  });
}

export function isField(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches("input, textarea, select, [contenteditable]");
}

/** Move the focus to the next card in the direction of the arrow. */
function walk(event: KeyboardEvent, grid: HTMLElement | null): void {
  const cards = [...(grid?.querySelectorAll<HTMLElement>(".card-open") ?? [])];
  if (cards.length === 0) return;
  event.preventDefault();
  const at = cards.indexOf(document.activeElement as HTMLElement);
  const columns = columnsOf(cards);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key] ?? 0;
  const next = at < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, at + step));
  cards[next]?.focus();
}

function columnsOf(cards: HTMLElement[]): number {
  const top = cards[0]?.getBoundingClientRect().top;
  const other = cards.findIndex((card) => card.getBoundingClientRect().top !== top);
  return other < 0 ? cards.length : other;
}
