import { useEffect, useState } from "preact/hooks";
import { asProblem } from "../api/problem";
import type { Page } from "../api/types";
import { client } from "../session";
import { text } from "../text";

export type Options = readonly (readonly [value: string, label: string])[];

/** The ways out that this person's desktops may take. */
export function useExits(): Options {
  return [
    ...useNames("/proxies", "name").map((name) => [name, text.create.exitProxy(name)] as const),
    ["direct", text.create.exitDirect],
    ["none", text.create.exitNone],
  ];
}

/** One word of every item of a list; empty while it is read, and if this person may not read it. */
export function useNames(path: string, field: string): string[] {
  const [names, setNames] = useState<string[]>([]);
  useEffect(() => {
    client
      .get<Page<Record<string, string>>>(path)
      .then((page) => setNames(page.items.map((item) => item[field] ?? "")))
      .catch((error: unknown) => asProblem(error));
  }, [path, field]);
  return names;
}
