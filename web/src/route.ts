import { Cell } from "./cell";

export const TABLES = ["proxies", "images", "templates", "snapshots", "tokens", "people", "audit"] as const;
export type Table = (typeof TABLES)[number];

export type Route =
  | { at: "wall" }
  | { at: "desktop"; name: string }
  | { at: "table"; table: Table }
  | { at: "nowhere" };

export const route = new Cell<Route>(parseRoute(location.pathname));

export function parseRoute(path: string): Route {
  const [first = "", second, ...rest] = path.split("/").slice(1);
  if (first === "" && second === undefined) return { at: "wall" };
  if (first === "desktops" && second && rest.length === 0) {
    return { at: "desktop", name: decodeURIComponent(second) };
  }
  const table = TABLES.find((name) => name === first);
  if (table && second === undefined) return { at: "table", table };
  return { at: "nowhere" };
}

export const desktopPath = (name: string): string => `/desktops/${encodeURIComponent(name)}`;

export function go(path: string): void {
  history.pushState(null, "", path);
  route.set(parseRoute(path));
  scrollTo(0, 0);
}

window.addEventListener("popstate", () => route.set(parseRoute(location.pathname)));

/** For an anchor's onClick: a plain click stays in the page, the rest (new tab …) is the browser's. */
export function followLink(event: MouseEvent): void {
  const anchor = event.currentTarget as HTMLAnchorElement;
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(anchor.pathname);
}
