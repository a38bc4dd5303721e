import { useState } from "preact/hooks";
import { moment } from "../amount";
import { part } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import { Button } from "../parts/button";
import { Check, Field } from "../parts/field";
import { Notice } from "../parts/notice";
import { client, mayAdminister } from "../session";
import { text } from "../text";
import { AddForm } from "./add";
import { type Column, DataTable, RemoveButton, useRows } from "./table";

interface Proxy {
  id: string;
  name: string;
  /** Scheme, host and port, without credentials. */
  url: string;
  addresses: number;
  in_use: number;
  exclusive: boolean;
  shared: boolean;
  failover: boolean;
  has_password: boolean;
  created_at: string;
}

const words = text.tables.proxies;

const COLUMNS: readonly Column<Proxy>[] = [
  { title: words.name, cell: (proxy) => <strong>{proxy.name}</strong> },
  { title: words.address, cell: (proxy) => <code>{proxy.url}</code> },
  { title: words.used, cell: (proxy) => words.usedOf(proxy.in_use, proxy.addresses) },
  { title: words.kind, cell: kindOf },
  { title: words.password, cell: (proxy) => (proxy.has_password ? words.hasPassword : words.noPassword) },
  { title: words.added, cell: (proxy) => moment(proxy.created_at) },
];

function kindOf(proxy: Proxy): string {
  return [proxy.exclusive && words.exclusive, proxy.shared && words.shared, proxy.failover && words.failover]
    .filter(Boolean)
    .join(", ");
}

export function Proxies() {
  const rows = useRows<Proxy>("/proxies");
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [exclusive, setExclusive] = useState(false);
  const [shared, setShared] = useState(false);
  const add = async (): Promise<void> => {
    await client.post("/proxies", { name: name.trim(), url: url.trim(), exclusive, shared });
    setName("");
    setUrl("");
    setExclusive(false);
    setShared(false);
    await rows.readAgain();
  };
  return (
    <>
      <AddForm label={words.add} fields={["name", "url"]} send={add}>
        {(fault) => (
          <>
            <Field label={words.name} value={name} onValue={setName} fault={fault("name")} autocomplete="off" />
            <Field
              label={words.url}
              secret
              value={url}
              onValue={setUrl}
              fault={fault("url")}
              help={words.urlHelp}
              placeholder="http://user:password@host:port"
              autocomplete="off"
            />
            <Check label={words.exclusiveHelp} checked={exclusive} onChecked={setExclusive} />
            {mayAdminister() && <Check label={words.sharedHelp} checked={shared} onChecked={setShared} />}
          </>
        )}
      </AddForm>
      <DataTable
        label={text.nav.proxies}
        rows={rows}
        columns={COLUMNS}
        keyOf={(proxy) => proxy.id}
        actions={(proxy) => (
          <>
            <Trial proxy={proxy} />
            <RemoveButton what={proxy.name} path={`/proxies/${part(proxy.id)}`} onRemoved={rows.readAgain} />
          </>
        )}
      />
    </>
  );
}

/** Asks the server to try the proxy now; the answer stays in the row. */
function Trial({ proxy }: { proxy: Proxy }) {
  const [said, setSaid] = useState<string | Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const check = async (): Promise<void> => {
    setBusy(true);
    try {
      const found = await client.post<{ exit_ip?: string }>(`/proxies/${part(proxy.id)}/check`);
      setSaid(words.works(found.exit_ip ?? ""));
    } catch (error) {
      setSaid(asProblem(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      {typeof said === "string" && <span class="row-good" role="status">{said}</span>}
      {said && typeof said !== "string" && <Notice problem={said} />}
      <Button busy={busy} onClick={() => void check()}>
        {busy ? words.checking : words.check}
      </Button>
    </>
  );
}
