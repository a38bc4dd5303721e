import { useEffect, useState } from "preact/hooks";
import { size } from "../amount";
import type { Client } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Access } from "../api/types";
import { Notice } from "../parts/notice";
import { text } from "../text";

const REFRESH_MS = 5000;
const SHOWN = 200;

/** Where the desktop went, newest first. The names are whatever the desktop asked for: shown as text, no more. */
export function AccessLog({ client, path }: { client: Client; path: string }) {
  const [open, setOpen] = useState(false);
  const [items, problem] = useAccess(client, path, open);
  const words = text.exit.access;
  return (
    <details class="access-log" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{words.title}</summary>
      {problem && <Notice problem={problem} />}
      {items?.length === 0 && <p class="field-help">{words.empty}</p>}
      {items && items.length > 0 && (
        <div class="access-rows" role="region" aria-label={words.title} tabIndex={0}>
          <table>
            <thead>
              <tr>
                {[words.at, words.where, words.into, words.out].map((one) => (
                  <th key={one} scope="col">
                    {one}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {[...items]
                .reverse()
                .slice(0, SHOWN)
                .map((one, index) => (
                  <Row key={`${one.at} ${index}`} one={one} />
                ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}

function Row({ one }: { one: Access }) {
  const at = new Date(one.at);
  const where = one.port === 443 ? one.host : `${one.host}:${one.port}`;
  return (
    <tr>
      <td>
        <time dateTime={one.at} title={at.toLocaleString()}>
          {at.toLocaleTimeString()}
        </time>
      </td>
      <td title={where}>{where}</td>
      <td>{size(one.bytes_in ?? 0)}</td>
      <td>{size(one.bytes_out ?? 0)}</td>
    </tr>
  );
}

/** What the API tells while it is looked at, and every few seconds anew; null before. */
function useAccess(client: Client, path: string, open: boolean): [readonly Access[] | null, Problem | null] {
  const [items, setItems] = useState<readonly Access[] | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  useEffect(() => {
    if (!open) return;
    const read = (): void => {
      client
        .get<{ items: Access[] }>(`${path}/access`)
        .then((told) => (setItems(told.items), setProblem(null)))
        .catch((error: unknown) => setProblem(asProblem(error)));
    };
    read();
    const timer = window.setInterval(read, REFRESH_MS);
    return () => clearInterval(timer);
  }, [client, path, open]);
  return [items, problem];
}
