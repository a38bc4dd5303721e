import { useEffect, useState } from "preact/hooks";
import { part } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Person, Quota, QuotaField } from "../api/types";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { Choice, Field } from "../parts/field";
import { Notice } from "../parts/notice";
import { client } from "../session";
import { text } from "../text";

const words = text.tables.people;
const FIELDS: readonly QuotaField[] = ["desktops", "vcpus", "memory_mib", "disk_gib", "proxies"];

interface PersonDialogProps {
  person: Person;
  onClose: () => void;
  onChanged: () => void;
}

type Shown = Quota & { quota: Partial<Record<QuotaField, number>> };

/** What an administrator may change of a person: role, password, how much they may have. */
export function PersonDialog({ person, onClose, onChanged }: PersonDialogProps) {
  const [shown, setShown] = useState<Shown | null>(null);
  const [role, setRole] = useState(person.role);
  const [password, setPassword] = useState("");
  const [quota, setQuota] = useState<Partial<Record<QuotaField, string>>>({});
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const path = `/users/${part(person.id)}`;
  useEffect(() => {
    client.get<Shown>(path).then(setShown, (error: unknown) => setProblem(asProblem(error)));
  }, [path]);
  const own = (field: QuotaField): string => quota[field] ?? String(shown?.quota[field] ?? "");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      const given = FIELDS.map((field) => [field, own(field).trim()] as const).filter(([, value]) => value !== "");
      // What is no number goes as it is, and comes back with its fault.
      const numbers = Object.fromEntries(
        given.map(([field, value]) => [field, /^\d+$/.test(value) ? Number(value) : value]),
      );
      await client.patch(path, { quota: numbers, ...(role !== person.role && { role }) });
      if (password) await client.put(`${path}/password`, { password });
      onChanged();
      onClose();
    } catch (error) {
      setProblem(asProblem(error));
      setBusy(false);
    }
  };
  const elsewhere = problem && problem.faults.length === 0;
  return (
    <Dialog label={words.changeOf(person.name)} onClose={onClose}>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <h2>{words.changeOf(person.name)}</h2>
        <Choice
          label={words.role}
          value={role}
          options={Object.entries(words.roles)}
          fault={problem?.fault("role") ?? ""}
          onValue={setRole}
        />
        <Field
          label={person.has_password ? words.newPassword : words.password}
          secret
          value={password}
          onValue={setPassword}
          fault={problem?.fault("password") ?? ""}
          help={words.newPasswordHelp}
          autocomplete="new-password"
        />
        {shown && (
          <fieldset class="quota">
            <legend>{words.quota}</legend>
            <p class="panel-help">{words.quotaHelp}</p>
            {FIELDS.map((field) => (
              <Field
                key={field}
                label={words.quotaOf[field]}
                value={own(field)}
                onValue={(value) => setQuota({ ...quota, [field]: value })}
                fault={problem?.fault(`quota.${field}`) ?? ""}
                help={words.used(shown.usage[field], shown.limits[field])}
                inputMode="numeric"
                autocomplete="off"
              />
            ))}
          </fieldset>
        )}
        {elsewhere && <Notice problem={problem} />}
        <div class="dialog-choices">
          <Button onClick={onClose}>{text.verbs.cancel}</Button>
          <Button kind="primary" type="submit" busy={busy}>
            {words.save}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
