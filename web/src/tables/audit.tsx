import { moment } from "../amount";
import { text } from "../text";
import { type Column, DataTable, useRows } from "./table";

interface Entry {
  id: string | number;
  at: string;
  actor: string;
  action: string;
  target: string;
  outcome?: string;
}

const words = text.tables.audit;

const COLUMNS: readonly Column<Entry>[] = [
  { title: words.at, cell: (entry) => <time dateTime={entry.at}>{moment(entry.at)}</time> },
  { title: words.who, cell: (entry) => entry.actor },
  { title: words.what, cell: (entry) => <code>{entry.action}</code> },
  { title: words.on, cell: (entry) => entry.target },
  { title: words.outcome, cell: (entry) => entry.outcome ?? "" },
];

export function Audit() {
  const rows = useRows<Entry>("/audit");
  return <DataTable label={text.nav.audit} rows={rows} columns={COLUMNS} keyOf={(entry) => String(entry.id)} />;
}
