import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { asProblem, type Problem } from "../api/problem";
import { Button } from "../parts/button";
import { Notice } from "../parts/notice";

interface AddFormProps {
  label: string;
  fields: readonly string[];
  /** Sends what was filled in; rejects with a Problem. */
  send: () => Promise<void>;
  children: (fault: (field: string) => string) => ComponentChildren;
}

/** A form above a table that adds a row to it; faults appear at their fields. */
export function AddForm({ label, fields, send, children }: AddFormProps) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await send();
      setProblem(null);
    } catch (error) {
      setProblem(asProblem(error));
    } finally {
      setBusy(false);
    }
  };
  const elsewhere = problem && !problem.faults.some((fault) => fields.includes(fault.field));
  return (
    <form class="add-form" onSubmit={(event) => void submit(event)} aria-label={label} noValidate>
      <div class="add-fields">
        {children((field) => problem?.fault(field) ?? "")}
        <Button kind="primary" type="submit" icon="plus" busy={busy}>
          {label}
        </Button>
      </div>
      {elsewhere && <Notice problem={problem} />}
    </form>
  );
}
