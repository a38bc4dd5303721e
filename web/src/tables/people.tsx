import { useState } from "preact/hooks";
import { moment } from "../amount";
import { part } from "../api/client";
import { Choice, Field } from "../parts/field";
import { client, who } from "../session";
import { text } from "../text";
import { AddForm } from "./add";
import { type Column, DataTable, RemoveButton, useRows } from "./table";

interface Person {
  id: string;
  name: string;
  role: string;
  created_at: string;
}

const words = text.tables.people;

const COLUMNS: readonly Column<Person>[] = [
  { title: words.name, cell: (person) => <strong>{person.name}</strong> },
  { title: words.role, cell: (person) => words.roles[person.role] ?? person.role },
  { title: words.created, cell: (person) => moment(person.created_at) },
];

export function People() {
  const rows = useRows<Person>("/users");
  const [name, setName] = useState("");
  const [role, setRole] = useState("user");
  const me = who.value.kind === "person" ? who.value.session.user : "";
  const add = async (): Promise<void> => {
    await client.post("/users", { name: name.trim(), role });
    setName("");
    await rows.readAgain();
  };
  return (
    <>
      <AddForm label={words.add} fields={["name", "role"]} send={add}>
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
          </>
        )}
      </AddForm>
      <DataTable
        label={text.nav.people}
        rows={rows}
        columns={COLUMNS}
        keyOf={(person) => person.id}
        actions={(person) =>
          person.name !== me && (
            <RemoveButton what={person.name} path={`/users/${part(person.id)}`} onRemoved={rows.readAgain} />
          )
        }
      />
    </>
  );
}
