import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Icon, type IconName } from "./icons";

interface MenuProps {
  label: string;
  icon: IconName;
  align?: "left" | "right";
  children: (close: () => void) => ComponentChildren;
}

/** A button that opens a short list of choices; arrows walk it, Escape and a click elsewhere close it. */
export function Menu({ label, icon, align = "right", children }: MenuProps) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const close = (): void => setOpen(false);
  useEffect(() => {
    if (!open) return;
    const elsewhere = (event: Event): void => {
      if (!root.current?.contains(event.target as Node)) close();
    };
    document.addEventListener("pointerdown", elsewhere);
    document.addEventListener("focusin", elsewhere);
    choices(root.current)[0]?.focus();
    return () => {
      document.removeEventListener("pointerdown", elsewhere);
      document.removeEventListener("focusin", elsewhere);
    };
  }, [open]);
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && open) {
      event.stopPropagation();
      close();
      root.current?.querySelector("button")?.focus();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      walk(event, root.current);
    }
  };
  return (
    <div class="menu" ref={root} onKeyDown={onKeyDown}>
      <button
        class="icon-button"
        type="button"
        title={label}
        aria-label={label}
        aria-haspopup="menu"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        <Icon name={icon} />
      </button>
      {open && (
        <div class={`menu-list ${align}`} role="menu" aria-label={label}>
          {children(close)}
        </div>
      )}
    </div>
  );
}

interface MenuItemProps {
  icon?: IconName;
  danger?: boolean;
  onClick: () => void;
  children: ComponentChildren;
}

export function MenuItem({ icon, danger, onClick, children }: MenuItemProps) {
  return (
    <button class={danger ? "menu-item danger" : "menu-item"} type="button" role="menuitem" onClick={onClick}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

function choices(root: HTMLElement | null): HTMLElement[] {
  return [...(root?.querySelectorAll<HTMLElement>('[role="menuitem"]') ?? [])];
}

function walk(event: KeyboardEvent, root: HTMLElement | null): void {
  const all = choices(root);
  if (all.length === 0) return;
  event.preventDefault();
  event.stopPropagation();
  const step = event.key === "ArrowDown" ? 1 : -1;
  const at = all.indexOf(document.activeElement as HTMLElement);
  all[(at + step + all.length) % all.length]?.focus();
}
