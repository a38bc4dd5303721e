import { useState } from "preact/hooks";
import { moment } from "../amount";
import { part } from "../api/client";
import type { Person } from "../api/types";
import { Button } from "../parts/button";
import { Choice, Field } from "../parts/field";
import { client, who } from "../session";
import { text } from "../text";
import { AddForm } from "./add";
import { PersonDialog } from "./person";
import { type Column, DataTable, RemoveButton, useRows } from "./table";

const words = text.tables.people;

const COLUMNS: readonly Column<Person>[] = [
  { title: words.name, cell: (person) => <strong>{person.name}</strong> },
  { title: words.role, cell: (person) => words.roles[person.role] ?? person.role },
  { title: words.ways, cell: (person) => waysOf(person).join(", ") },
  { title: words.created, cell: (person) => moment(person.created_at) },
];

export function People() {
  const rows = useRows<Person>("/users");
  const [name, setName] = useState("");
  const [role, setRole] = useState("user");
  const [password, setPassword] = useState("");
  const [changing, setChanging] = useState<Person | null>(null);
  const me = who.value.kind === "person" ? who.value.session.user : "";
  const add = async (): Promise<void> => {
    await client.post("/users", { name: name.trim(), role, ...(password && { password }) });
    setName("");
    setPassword("");
    await rows.readAgain();
  };
  return (
    <>
      <AddForm label={words.add} fields={["name", "role", "password"]} send={add}>
        {(fault) => (
          <>
            <Field label={words.name} value={name} onValue={setName} fault={fault("name")} autocomplete="off" />
            <Choice
              label={words.role}
              value={role}
              options={Object.entries(words.roles)}
              fault={fault("role")}
              onValue={setRole}
            />
            <Field
              label={words.password}
              secret
              value={password}
              onValue={setPassword}
              fault={fault("password")}
              help={words.passwordHelp}
              autocomplete="new-password"
            />
          </>
        )}
      </AddForm>
      <DataTable
        label={text.nav.people}
        rows={rows}
        columns={COLUMNS}
        keyOf={(person) => person.id}
        actions={(person) => (
          <>
            <Button onClick={() => setChanging(person)}>{words.change}</Button>
            {person.name !== me && (
              <RemoveButton what={person.name} path={`/users/${part(person.id)}`} onRemoved={rows.readAgain} />
            )}
          </>
        )}
      />
      {changing && (
        <PersonDialog
          key={changing.id}
          person={changing}
          onClose={() => setChanging(null)}
          onChanged={() => void rows.readAgain()}
        />
      )}
    </>
  );
}

function waysOf(person: Person): string[] {
  const ways = [person.has_password && words.byPassword, person.subject && words.byProvider];
  return [...ways.filter((way) => typeof way === "string" && way !== ""), words.byToken] as string[];
}
