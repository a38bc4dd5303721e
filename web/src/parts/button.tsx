import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { Icon, type IconName } from "./icons";

interface ButtonProps {
  children?: ComponentChildren;
  icon?: IconName;
  kind?: "primary" | "danger" | "plain" | "quiet";
  type?: "button" | "submit";
  disabled?: boolean;
  busy?: boolean;
  /** Takes the focus when it appears. */
  focused?: boolean;
  keys?: string;
  onClick?: (event: MouseEvent) => void;
}

export function Button({ children, icon, kind = "plain", type = "button", ...rest }: ButtonProps) {
  const { disabled, busy, focused, keys, onClick } = rest;
  const ref = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (focused) ref.current?.focus();
  }, [focused]);
  return (
    <button
      ref={ref}
      class={`button ${kind}`}
      type={type}
      disabled={disabled || busy}
      aria-busy={busy}
      onClick={onClick}
    >
      {icon && <Icon name={icon} />}
      {children}
      {keys && <kbd>{keys}</kbd>}
    </button>
  );
}

interface IconButtonProps {
  icon: IconName;
  label: string;
  pressed?: boolean;
  expanded?: boolean;
  onClick: (event: MouseEvent) => void;
}

/** A button that is only a picture: its name is read aloud and shown under the pointer. */
export function IconButton({ icon, label, pressed, expanded, onClick }: IconButtonProps) {
  return (
    <button
      class="icon-button"
      type="button"
      title={label}
      aria-label={label}
      aria-pressed={pressed}
      aria-expanded={expanded}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}
