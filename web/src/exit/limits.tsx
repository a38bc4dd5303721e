import type { Egress } from "../api/types";
import { Check, Field } from "../parts/field";
import { text } from "../text";

/** How many bytes the field's unit is; counts have none. Zero is no limit, and an empty field. */
const UNITS = {
  byte_quota: 2 ** 30,
  bytes_per_second: 2 ** 20,
  max_connections: 1,
  connections_per_second: 1,
} as const;

type LimitName = keyof typeof UNITS;
const NAMES = Object.keys(UNITS) as LimitName[];

/** As they stand in the fields. */
export type Limits = Record<LimitName, string> & { access_log: boolean };

export function limitsOf(told: Egress): Limits {
  const shown = NAMES.map((name) => [name, told[name] ? String(+(told[name] / UNITS[name]).toPrecision(4)) : ""]);
  return { ...(Object.fromEntries(shown) as Record<LimitName, string>), access_log: told.access_log };
}

/** Only what was changed: a limit that its unit shows rounded stays as exact as it was. What is no number goes to
 * the server as it is, which says so. */
export function changesOf(limits: Limits, told: Egress): Record<string, unknown> {
  const before = limitsOf(told);
  const changed = NAMES.filter((name) => limits[name].trim() !== before[name]).map((name) => {
    const given = limits[name].trim().replace(",", ".");
    const number = Number(given);
    return [name, Number.isNaN(number) ? given : Math.round(number * UNITS[name])];
  });
  return { ...Object.fromEntries(changed), ...(limits.access_log !== told.access_log && { access_log: limits.access_log }) };
}

interface LimitFieldsProps {
  limits: Limits;
  /** Names of those that are not this person's to change. */
  held: readonly string[];
  onLimits: (limits: Limits) => void;
  fault: (field: string) => string;
}

export function LimitFields({ limits, held, onLimits, fault }: LimitFieldsProps) {
  return (
    <fieldset class="quota">
      <legend>{text.exit.limits}</legend>
      {NAMES.map((name) => (
        <Field
          key={name}
          label={text.exit.limitOf[name]}
          value={limits[name]}
          onValue={(value) => onLimits({ ...limits, [name]: value })}
          fault={fault(name)}
          readOnly={held.includes(name)}
          help={held.includes(name) ? text.exit.held : ""}
          placeholder={name === "max_connections" ? "" : text.exit.unlimited}
          inputMode="numeric"
          autocomplete="off"
        />
      ))}
      <Check
        label={text.exit.accessLog}
        checked={limits.access_log}
        disabled={held.includes("access_log")}
        onChecked={(access_log) => onLimits({ ...limits, access_log })}
      />
    </fieldset>
  );
}
