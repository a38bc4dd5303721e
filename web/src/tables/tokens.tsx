import { useState } from "preact/hooks";
import { moment } from "../amount";
import { part } from "../api/client";
import { CopyButton } from "../parts/copy";
import { Field } from "../parts/field";
import { client, who } from "../session";
import { text } from "../text";
import { AddForm } from "./add";
import { type Column, DataTable, RemoveButton, useRows } from "./table";

interface Token {
  id: string;
  name: string;
  user: string;
  scopes: string[];
  created_at: string;
  expires_at: string | null;
  last_used_at?: string | null;
}

const words = text.tables.tokens;

const COLUMNS: readonly Column<Token>[] = [
  { title: words.name, cell: (token) => <strong>{token.name}</strong> },
  { title: words.user, cell: (token) => token.user },
  { title: words.scopes, cell: (token) => token.scopes.join(", ") },
  { title: words.created, cell: (token) => moment(token.created_at) },
  { title: words.expires, cell: (token) => (token.expires_at ? moment(token.expires_at) : words.never) },
  { title: words.last, cell: (token) => (token.last_used_at ? moment(token.last_used_at) : words.never) },
];

export function Tokens() {
  const rows = useRows<Token>("/tokens");
  const me = who.value.kind === "person" ? who.value.session.user : "";
  const [name, setName] = useState("");
  const [user, setUser] = useState(me);
  const [days, setDays] = useState("");
  const [made, setMade] = useState("");
  const add = async (): Promise<void> => {
    const ends = days.trim() ? { expires_in_s: Math.round(Number(days) * 86_400) } : {};
    const { token } = await client.post<{ token: string }>("/tokens", { user, name: name.trim(), ...ends });
    setMade(token);
    setName("");
    await rows.readAgain();
  };
  return (
    <>
      <AddForm label={words.add} fields={["name", "user", "expires_in_s"]} send={add}>
        {(fault) => (
          <>
            <Field label={words.name} value={name} onValue={setName} fault={fault("name")} autocomplete="off" />
            <Field label={words.user} value={user} onValue={setUser} fault={fault("user")} autocomplete="off" />
            <Field
              label={words.days}
              value={days}
              onValue={setDays}
              fault={fault("expires_in_s")}
              help={words.daysHelp}
              inputMode="numeric"
            />
          </>
        )}
      </AddForm>
      {made && <Shown token={made} />}
      <DataTable
        label={text.nav.tokens}
        rows={rows}
        columns={COLUMNS}
        keyOf={(token) => token.id}
        actions={(token) => (
          <RemoveButton what={token.name} path={`/tokens/${part(token.id)}`} onRemoved={rows.readAgain} />
        )}
      />
    </>
  );
}

function Shown({ token }: { token: string }) {
  return (
    <div class="once" role="status">
      <p>{words.once}</p>
      <code>{token}</code>
      <CopyButton value={token} />
    </div>
  );
}
