import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

interface FieldProps {
  label: string;
  value: string;
  onValue: (value: string) => void;
  help?: string;
  fault?: string;
  after?: ComponentChildren;
  /** What is typed is not shown. */
  secret?: boolean;
  name?: string;
  placeholder?: string;
  inputMode?: "text" | "numeric";
  autocomplete?: "off" | "username" | "current-password" | "new-password";
  spellcheck?: boolean;
  maxLength?: number;
  required?: boolean;
  readOnly?: boolean;
  autofocus?: boolean;
}

/** A labelled input with its help or, in the same place, what is wrong with it. */
export function Field({ label, help = "", fault = "", onValue, after, secret, ...input }: FieldProps) {
  const id = useId();
  const common = {
    ...input,
    id,
    "aria-invalid": fault !== "",
    "aria-describedby": help || fault ? `${id}-note` : undefined,
    onInput: (event: { currentTarget: HTMLInputElement }) => onValue(event.currentTarget.value),
  };
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <div class="field-row">
        {secret ? <input {...common} type="password" /> : <input {...common} type="text" />}
        {after}
      </div>
      <Note id={`${id}-note`} help={help} fault={fault} />
    </div>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  options: readonly (readonly [value: string, label: string])[];
  fault?: string;
  onValue: (value: string) => void;
}

export function Choice({ label, value, options, fault = "", onValue }: ChoiceProps) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select
        id={id}
        value={value}
        aria-invalid={fault !== ""}
        aria-describedby={fault ? `${id}-note` : undefined}
        onChange={(event) => onValue(event.currentTarget.value)}
      >
        {options.map(([option, name]) => (
          <option key={option} value={option}>
            {name}
          </option>
        ))}
      </select>
      <Note id={`${id}-note`} help="" fault={fault} />
    </div>
  );
}

interface CheckProps {
  label: string;
  checked: boolean;
  disabled?: boolean;
  onChecked: (checked: boolean) => void;
}

export function Check({ label, checked, disabled = false, onChecked }: CheckProps) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} disabled={disabled} onChange={(event) => onChecked(event.currentTarget.checked)} />
      {label}
    </label>
  );
}

function Note({ id, help, fault }: { id: string; help: string; fault: string }) {
  if (!help && !fault) return null;
  return (
    <p id={id} class={fault ? "field-fault" : "field-help"}>
      {fault || help}
    </p>
  );
}
