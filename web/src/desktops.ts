import type { Client } from "./api/client";
import { part } from "./api/client";
import { follow } from "./api/events";
import { asProblem, type Problem } from "./api/problem";
import type { Desktop, OrielEvent, Page } from "./api/types";
import { Cell } from "./cell";
import { advance, type Progress } from "./progress";

export interface NewDesktop {
  name: string;
  runtime?: string;
  image?: string;
  vcpus?: number;
  memory_mib?: number;
  disk_gib?: number;
  screen?: { width: number; height: number };
  proxy?: string;
  clipboard?: string;
}

/** The desktops as the server knows them, kept true by its events. */
export class Desktops {
  /** Newest first; null until first read. */
  readonly list = new Cell<readonly Desktop[] | null>(null);
  readonly progress = new Cell<ReadonlyMap<string, Progress>>(new Map());
  readonly connection = new Cell<"opening" | "live" | "lost">("opening");
  /** Why the list could not be read. */
  readonly problem = new Cell<Problem | null>(null);
  /** What the last verb on a desktop failed with, by the desktop's id; a new verb forgets it. */
  readonly refusals = new Cell<ReadonlyMap<string, Problem>>(new Map());
  private stopFollowing: (() => void) | null = null;
  private readonly reading = new Map<string, "once" | "again">();

  /** `only`: the one desktop that is followed, for a guest who may see no other. */
  constructor(
    private readonly client: Client,
    private readonly only = "",
  ) {}

  /** Read the list and follow the events, until `stop`. */
  start(): void {
    void this.readAll();
    this.stopFollowing ??= follow(this.client, this.only ? `/desktops/${part(this.only)}/events` : "/events", {
      onOpen: () => {
        this.connection.set("live");
        void this.readAll();
      },
      onEvent: (event) => this.take(event),
      onLost: () => this.connection.set("lost"),
    });
  }

  stop(): void {
    this.stopFollowing?.();
    this.stopFollowing = null;
    this.list.set(null);
  }

  async readAll(): Promise<void> {
    try {
      this.list.set(this.only ? await this.fetchOne() : await this.fetchAll());
      this.problem.set(null);
    } catch (error) {
      this.problem.set(asProblem(error));
    }
  }

  private async fetchOne(): Promise<Desktop[]> {
    try {
      return [await this.client.get<Desktop>(`/desktops/${part(this.only)}`)];
    } catch (error) {
      if (asProblem(error).status === 404) return [];
      throw error;
    }
  }

  private async fetchAll(): Promise<Desktop[]> {
    const all: Desktop[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query: string = cursor ? `&cursor=${part(cursor)}` : "";
      const page: Page<Desktop> = await this.client.get(`/desktops?limit=100${query}`);
      all.push(...page.items);
      cursor = page.next;
    }
    return all;
  }

  find(name: string): Desktop | undefined {
    return this.list.value?.find((desktop) => desktop.name === name || desktop.id === name);
  }

  async create(wanted: NewDesktop, key: string): Promise<Desktop> {
    const made = await this.client.post<Desktop>("/desktops", wanted, { "Idempotency-Key": key });
    this.put(made);
    return made;
  }

  boot(desktop: Desktop): Promise<void> {
    return this.verb(desktop, (path) => this.client.post(`${path}/start`));
  }

  shutDown(desktop: Desktop): Promise<void> {
    return this.verb(desktop, (path) => this.client.post(`${path}/stop`));
  }

  pause(desktop: Desktop): Promise<void> {
    return this.verb(desktop, (path) => this.client.post(`${path}/pause`));
  }

  resume(desktop: Desktop): Promise<void> {
    return this.verb(desktop, (path) => this.client.post(`${path}/resume`));
  }

  /** Rejects with a Problem: whoever asks has a place to show it. */
  async change(desktop: Desktop, change: Partial<Pick<Desktop, "clipboard">>): Promise<void> {
    await this.client.patch(`/desktops/${part(desktop.id)}`, change);
    await this.readAll();
  }

  remove(desktop: Desktop): Promise<void> {
    return this.verb(desktop, (path) => this.client.delete(path));
  }

  /** Never rejects: a failure is kept in `refusals`, to be shown beside the desktop. */
  private async verb(desktop: Desktop, send: (path: string) => Promise<unknown>): Promise<void> {
    this.refuse(desktop.id, null);
    try {
      await send(`/desktops/${part(desktop.id)}`);
      await this.read(desktop.id);
    } catch (error) {
      this.refuse(desktop.id, asProblem(error));
    }
  }

  private refuse(id: string, problem: Problem | null): void {
    this.refusals.update((old) => {
      const next = new Map(old);
      if (problem) next.set(id, problem);
      else next.delete(id);
      return next;
    });
  }

  private take(event: OrielEvent): void {
    if (!event.desktop) return;
    const now = advance(this.progress.value.get(event.desktop), event);
    this.progress.update((old) => {
      const next = new Map(old);
      if (now) next.set(event.desktop, now);
      else next.delete(event.desktop);
      return next;
    });
    if (!event.kind.startsWith("step.")) void this.read(event.desktop);
  }

  /** Read one desktop again; a burst of events causes at most one more reading. */
  private async read(id: string): Promise<void> {
    if (this.reading.has(id)) {
      this.reading.set(id, "again");
      return;
    }
    this.reading.set(id, "once");
    try {
      this.put(await this.client.get<Desktop>(`/desktops/${part(id)}`));
    } catch (error) {
      if (asProblem(error).status === 404) this.drop(id);
    } finally {
      const again = this.reading.get(id) === "again";
      this.reading.delete(id);
      if (again) void this.read(id);
    }
  }

  private put(desktop: Desktop): void {
    this.list.update((old) => {
      const list = old ?? [];
      const known = list.some((other) => other.id === desktop.id);
      return known
        ? list.map((other) => (other.id === desktop.id ? desktop : other))
        : [desktop, ...list];
    });
  }

  private drop(id: string): void {
    this.list.update((old) => old?.filter((desktop) => desktop.id !== id) ?? null);
  }
}
