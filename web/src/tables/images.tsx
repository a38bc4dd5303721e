import { moment, size } from "../amount";
import { text } from "../text";
import { type Column, DataTable, useRows } from "./table";

interface ImageRow {
  id: string;
  name: string;
  version: string;
  created_at: string;
  size_bytes: number;
  in_use_by: string[] | number;
  default: boolean;
}

const words = text.tables.images;

const COLUMNS: readonly Column<ImageRow>[] = [
  {
    title: words.name,
    cell: (image) => (
      <>
        <strong>{image.name}</strong> {image.default && <span class="badge">{words.isDefault}</span>}
      </>
    ),
  },
  { title: words.version, cell: (image) => <code>{image.version}</code> },
  { title: words.built, cell: (image) => moment(image.created_at) },
  { title: words.size, numeric: true, cell: (image) => size(image.size_bytes) },
  {
    title: words.used,
    numeric: true,
    cell: ({ in_use_by }) => (Array.isArray(in_use_by) ? in_use_by.length : in_use_by),
  },
];

export function Images() {
  const rows = useRows<ImageRow>("/images");
  return <DataTable label={text.nav.images} rows={rows} columns={COLUMNS} keyOf={(image) => image.id} />;
}
