import { useEffect, useState } from "preact/hooks";
import { moment, size } from "../amount";
import { part } from "../api/client";
import type { Quota } from "../api/types";
import { client, mayControl } from "../session";
import { text } from "../text";
import { type Column, DataTable, RemoveButton, useRows } from "./table";

interface SnapshotRow {
  name: string;
  desktop: string;
  at: string;
  /** On the disk, without what it shares with others. */
  bytes: number;
}

const words = text.tables.snapshots;

const COLUMNS: readonly Column<SnapshotRow>[] = [
  { title: words.name, cell: (kept) => <strong>{kept.name}</strong> },
  { title: words.desktop, cell: (kept) => kept.desktop },
  { title: words.taken, cell: (kept) => moment(kept.at) },
  { title: words.size, numeric: true, cell: (kept) => size(kept.bytes) },
];

export function Snapshots() {
  const rows = useRows<SnapshotRow>("/snapshots");
  const total = rows.items?.reduce((sum, kept) => sum + kept.bytes, 0) ?? 0;
  const remove = ({ desktop, name }: SnapshotRow) => (
    <RemoveButton
      what={name}
      path={`/desktops/${part(desktop)}/snapshots/${part(name)}`}
      onRemoved={rows.readAgain}
    />
  );
  return (
    <>
      <DataTable
        label={text.nav.snapshots}
        rows={rows}
        columns={COLUMNS}
        keyOf={(kept) => `${kept.desktop}/${kept.name}`}
        {...(mayControl() ? { actions: remove } : {})}
      />
      {total > 0 && <p class="table-note">{words.total(size(total))}</p>}
      <DiskQuota />
    </>
  );
}

/** What the disks of one's desktops may grow to, beside what was kept of them. */
function DiskQuota() {
  const [quota, setQuota] = useState<Quota | null>(null);
  useEffect(() => {
    client.get<{ quota: Quota }>("/session").then(
      (session) => setQuota(session.quota),
      () => setQuota(null),
    );
  }, []);
  if (!quota) return null;
  return <p class="table-note">{words.disks(quota.usage.disk_gib, quota.limits.disk_gib)}</p>;
}
