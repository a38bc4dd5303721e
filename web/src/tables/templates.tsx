import { moment, size } from "../amount";
import { text } from "../text";
import { type Column, DataTable, useRows } from "./table";

interface Kind {
  image: string;
  runtime: string;
  vcpus: number;
  memory_mib: number;
}

interface TemplateRow extends Kind {
  id: string;
  created_at: string;
  size_bytes: number;
  problem: string;
}

interface PoolRow extends Kind {
  disk_gib: number;
  screen: { width: number; height: number };
  wanted: number;
  ready: number;
  held_mib: number;
  problem: string;
}

const words = text.tables.templates;
const MIB = 2 ** 20;

const KIND: readonly Column<Kind>[] = [
  { title: words.runtime, cell: (kind) => <strong>{kind.runtime}</strong> },
  { title: words.image, cell: (kind) => <code>{kind.image}</code> },
  { title: words.memory, numeric: true, cell: (kind) => size(kind.memory_mib * MIB) },
];

const POOL: readonly Column<PoolRow>[] = [
  ...KIND,
  { title: words.ready, numeric: true, cell: (kind) => words.readyOf(kind.ready, kind.wanted) },
  { title: words.held, numeric: true, cell: (kind) => size(kind.held_mib * MIB) },
  { title: words.problem, cell: (kind) => kind.problem },
];

const TEMPLATES: readonly Column<TemplateRow>[] = [
  ...KIND,
  { title: words.built, cell: (template) => moment(template.created_at) },
  { title: words.size, numeric: true, cell: (template) => size(template.size_bytes) },
  { title: words.problem, cell: (template) => template.problem },
];

/** What new desktops begin at, and those that wait ready. */
export function Templates() {
  const templates = useRows<TemplateRow>("/templates");
  const pool = useRows<PoolRow>("/pool");
  const kindOf = (kind: PoolRow) =>
    [kind.runtime, kind.image, kind.vcpus, kind.memory_mib, kind.disk_gib, kind.screen.width, kind.screen.height].join();
  return (
    <>
      <DataTable label={text.nav.templates} rows={templates} columns={TEMPLATES} keyOf={(template) => template.id} />
      <h2>{words.pool}</h2>
      <p class="table-help">{words.poolHelp}</p>
      <DataTable label={words.pool} rows={pool} columns={POOL} keyOf={kindOf} />
    </>
  );
}
