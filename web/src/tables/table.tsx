import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { part } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Page } from "../api/types";
import { Button, IconButton } from "../parts/button";
import { Notice } from "../parts/notice";
import { client } from "../session";
import { text } from "../text";

export interface Column<T> {
  title: string;
  cell: (item: T) => ComponentChildren;
  /** Numbers line up at their end. */
  numeric?: boolean;
}

export interface Rows<T> {
  items: T[] | null;
  problem: Problem | null;
  more: boolean;
  readAgain: () => Promise<void>;
  readMore: () => Promise<void>;
}

/** A list of the API, page by page. */
export function useRows<T>(path: string): Rows<T> {
  const [items, setItems] = useState<T[] | null>(null);
  const [next, setNext] = useState<string | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const read = useCallback(
    async (cursor: string | null): Promise<void> => {
      try {
        const query = cursor ? `&cursor=${part(cursor)}` : "";
        const page = await client.get<Page<T>>(`${path}?limit=100${query}`);
        setItems((old) => (cursor ? [...(old ?? []), ...page.items] : page.items));
        setNext(page.next);
        setProblem(null);
      } catch (error) {
        setProblem(asProblem(error));
      }
    },
    [path],
  );
  useEffect(() => void read(null), [read]);
  return { items, problem, more: next !== null, readAgain: () => read(null), readMore: () => read(next) };
}

interface DataTableProps<T> {
  label: string;
  rows: Rows<T>;
  columns: readonly Column<T>[];
  keyOf: (item: T) => string;
  /** What can be done with an item, at the end of its row. */
  actions?: (item: T) => ComponentChildren;
}

export function DataTable<T>({ label, rows, columns, keyOf, actions }: DataTableProps<T>) {
  const { items, problem } = rows;
  if (problem && !items) return <Notice problem={problem} />;
  if (!items) return <p class="table-note">{text.tables.loading}</p>;
  if (items.length === 0) return <p class="table-note">{text.tables.empty}</p>;
  return (
    <>
      <div class="table-frame" tabIndex={0} role="region" aria-label={label}>
        <table>
          <thead>
            <tr>
              {columns.map(({ title, numeric }) => (
                <th key={title} scope="col" class={numeric ? "numeric" : ""}>
                  {title}
                </th>
              ))}
              {actions && (
                <th scope="col" class="table-actions">
                  <span class="unseen">{text.tables.actions}</span>
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {items.map((item) => (
              <tr key={keyOf(item)}>
                {columns.map(({ title, cell, numeric }) => (
                  <td key={title} class={numeric ? "numeric" : ""}>
                    {cell(item)}
                  </td>
                ))}
                {actions && <td class="table-actions">{actions(item)}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.more && <Button onClick={() => void rows.readMore()}>{text.tables.more}</Button>}
    </>
  );
}

interface RemoveButtonProps {
  what: string;
  path: string;
  onRemoved: () => Promise<void>;
}

/** Deletes an item, after asking in its own place. */
export function RemoveButton({ what, path, onRemoved }: RemoveButtonProps) {
  const [asked, setAsked] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const remove = async (): Promise<void> => {
    try {
      await client.delete(path);
      await onRemoved();
    } catch (error) {
      setProblem(asProblem(error));
      setAsked(false);
    }
  };
  if (!asked) {
    return (
      <>
        {problem && <Notice problem={problem} />}
        <IconButton icon="trash" label={text.tables.remove(what)} onClick={() => setAsked(true)} />
      </>
    );
  }
  return (
    <span class="row-question" role="group" aria-label={text.remove.question(what)}>
      <Button kind="danger" onClick={() => void remove()}>
        {text.remove.confirm}
      </Button>
      <Button focused onClick={() => setAsked(false)}>
        {text.remove.keep}
      </Button>
    </span>
  );
}
