import { Client } from "./api/client";
import { Problem, asProblem } from "./api/problem";
import type { Mode, Redeemed, Session } from "./api/types";
import { Cell } from "./cell";
import { Desktops } from "./desktops";
import { type Table, TABLES } from "./route";
import { text } from "./text";

/** Who looks at this page. */
export type Who =
  | { kind: "unknown" }
  | { kind: "nobody"; problem: Problem | null }
  | { kind: "person"; session: Session }
  | { kind: "guest"; grant: Grant };

/** What a redeemed ticket gives: one desktop, without an account. */
export interface Grant {
  desktop: string;
  mode: Mode;
  grant: string;
  /** Where it was received; only there is it used again. */
  path: string;
}

export const client = new Client();
export const desktops = new Desktops(client);
export const who = new Cell<Who>({ kind: "unknown" });

let changing = false;

client.onSignedOut = () => {
  if (who.value.kind !== "person" || changing) return;
  desktops.stop();
  who.set({ kind: "nobody", problem: new Problem(401, "signed_out", text.login.expired, "") });
};

const GRANT_KEY = "oriel.grant";

/** Find out who looks: a secret in the address first, then a grant of this tab, then the cookie. */
export async function arrive(): Promise<void> {
  const secrets = takeFragment();
  try {
    if (secrets.token) return await signIn(secrets.token);
    if (secrets.ticket) return await redeem(secrets.ticket);
    if (secrets.refused) return who.set({ kind: "nobody", problem: refusal(secrets.refused) });
    const grant = keptGrant();
    if (grant && location.pathname === grant.path) {
      return who.set({ kind: "guest", grant });
    }
    enter(await client.get<Session>("/session"));
  } catch (error) {
    const problem = asProblem(error);
    const expected = problem.status === 401 && !secrets.token && !secrets.ticket;
    who.set({ kind: "nobody", problem: expected ? null : problem });
  }
}

export async function signIn(token: string): Promise<void> {
  enter(await client.post<Session>("/session", { token }));
}

export async function signInByPassword(user: string, password: string): Promise<void> {
  enter(await client.post<Session>("/session", { user, password }));
}

/** Every session ends; this page gets a new one with the answer, and must not take the old one's end for its own. */
export async function changePassword(current: string, password: string): Promise<void> {
  changing = true;
  desktops.stop();
  try {
    await client.put("/session/password", { current, password });
  } finally {
    changing = false;
    desktops.start();
  }
}

export async function signOut(): Promise<void> {
  await client.delete("/session");
  desktops.stop();
  who.set({ kind: "nobody", problem: null });
}

/** Whether the one who looks may make, change and drive desktops; the server decides in the end. */
export function mayAdminister(): boolean {
  return who.value.kind === "person" && who.value.session.permissions.includes("admin");
}

export function mayControl(): boolean {
  return who.value.kind === "person" && who.value.session.permissions.includes("control");
}

/** The tables this person may read. */
export function visibleTables(): readonly Table[] {
  if (who.value.kind !== "person") return [];
  return who.value.session.permissions.includes("admin") ? TABLES : ["proxies", "images", "templates", "snapshots", "tokens"];
}

function enter(session: Session): void {
  who.set({ kind: "person", session });
  desktops.start();
}

async function redeem(ticket: string): Promise<void> {
  const redeemed = await new Client().post<Redeemed>("/tickets/redeem", { ticket });
  const desktop = typeof redeemed.desktop === "string" ? redeemed.desktop : redeemed.desktop.name;
  const grant = { desktop, mode: redeemed.mode, grant: redeemed.grant, path: location.pathname };
  // Per tab, so that reloading the page works and closing it forgets the grant.
  sessionStorage.setItem(GRANT_KEY, JSON.stringify(grant));
  who.set({ kind: "guest", grant });
}

function keptGrant(): Grant | null {
  const kept = sessionStorage.getItem(GRANT_KEY);
  return kept ? (JSON.parse(kept) as Grant) : null;
}

/** Why signing on at the provider came to nothing, from the word the server sends back with. */
function refusal(word: string): Problem {
  const [message, hint] = text.login.refused[word] ?? text.login.refused.refused;
  return new Problem(401, "sign_on", message, hint);
}

/** The secrets behind the `#`, which are removed from the address and the history at once. */
function takeFragment(): { token: string; ticket: string; refused: string } {
  const values = new URLSearchParams(location.hash.slice(1));
  const token = values.get("token") ?? "";
  const ticket = values.get("ticket") ?? "";
  const refused = values.get("sign-on") ?? "";
  if (token || ticket || refused) history.replaceState(null, "", location.pathname + location.search);
  return { token, ticket, refused };
}
