import { type Client, part } from "../api/client";
import type { Mode, Ticket } from "../api/types";
import { Cell } from "../cell";
import { type Message, parse } from "./message";

/** Someone who looks at the same desktop. What others call themselves is shown as text and nothing else. */
export interface Viewer {
  id: string;
  name: string;
  kind: "person" | "guest" | "agent";
  mode: Mode;
  rung: Rung | "";
}

export interface People {
  viewers: readonly Viewer[];
  holder: string | null;
  requests: readonly string[];
}

export type Rung = "udp" | "tcp" | "vnc";

const NOBODY: People = { viewers: [], holder: null, requests: [] };
const PING_MS = 1000;
// No answer for so long: it is asked whether the server is to be reached otherwise.
const SILENCE_MS = 2500;
const PROBE_MS = 1500;
// Of a network that is away altogether.
const PATIENCE_MS = 30_000;

/** One session with the desktop (WebSocket `webrtc` in docs/internals.md): who is there, who drives, the stream. */
export class Session {
  readonly people = new Cell<People>(NOBODY);
  /** Whether what this viewer does counts. */
  readonly drives = new Cell(false);
  /** Round trip to the server, in ms. */
  readonly roundTrip = new Cell<number | null>(null);
  /** What the server would not do, in its words. */
  readonly refusal = new Cell("");
  viewer = "";
  onMedia: (message: Message) => void = () => {};
  onClipboard: () => void = () => {};
  onDownload: (name: string, size: number) => void = () => {};
  private readonly pinged = new Map<number, number>();
  private pings = 0;
  /** When the server answered somebody else, while it did not answer us. */
  private reachedAt = 0;
  private probing = false;
  private timer = 0;

  private constructor(
    private readonly socket: WebSocket,
    readonly mode: Mode,
  ) {}

  /** Opens one; rejects with a Problem if the server will not, or with the socket's close code. */
  static async open(client: Client, desktopId: string, mode: Mode, signal: AbortSignal): Promise<Session> {
    const path = `/desktops/${part(desktopId)}`;
    const { ticket } = await client.post<Ticket>(`${path}/tickets`, { mode });
    signal.throwIfAborted();
    const socket = new WebSocket(socketUrl(`${path}/webrtc`), [`ticket.${ticket}`]);
    const session = new Session(socket, mode);
    signal.addEventListener("abort", () => session.close());
    await new Promise<void>((resolve, reject) => {
      socket.addEventListener("message", (event) => {
        session.hear(event.data);
        if (session.viewer) resolve();
      });
      socket.addEventListener("close", () => reject(new SessionEnded()));
    });
    session.timer = window.setInterval(() => session.beat(), PING_MS);
    return session;
  }

  /** Resolves when it has ended: with the server's word for why, or "". */
  ended(): Promise<string> {
    return new Promise<string>((resolve) => {
      if (this.socket.readyState >= WebSocket.CLOSING) resolve("");
      this.socket.addEventListener("close", (event) => resolve(event.reason));
    }).finally(() => clearInterval(this.timer));
  }

  say(type: string, more: Record<string, unknown> = {}): void {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, ...more }));
  }

  close(): void {
    clearInterval(this.timer);
    this.socket.close();
  }

  /** Whoever drives now; undefined if that is nobody. */
  get driver(): Viewer | undefined {
    const { viewers, holder } = this.people.value;
    return viewers.find((viewer) => viewer.id === holder);
  }

  private beat(): void {
    const now = performance.now();
    const [asked = now] = this.pinged.values();
    const silence = now - asked;
    // After an outage TCP tries again when as long as that has passed once more: so much later it is dead.
    const dead = this.reachedAt > 0 && now - this.reachedAt > Math.max(SILENCE_MS, this.reachedAt - asked);
    if (dead || silence > PATIENCE_MS) {
      // A close would wait for an answer that does not come.
      this.socket.dispatchEvent(new CloseEvent("close", { code: 4408 }));
      this.close();
      return;
    }
    if (silence > SILENCE_MS && !this.reachedAt) void this.probe();
    this.pinged.set(++this.pings, now);
    this.say("ping", { id: this.pings });
  }

  /** Whether a new connection would be answered: then the old one is what is wrong. */
  private async probe(): Promise<void> {
    if (this.probing) return;
    this.probing = true;
    try {
      await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(PROBE_MS) });
      if (this.pinged.size > 0) this.reachedAt = performance.now();
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof DOMException)) throw error;
    } finally {
      this.probing = false;
    }
  }

  private hear(data: unknown): void {
    const message = parse(data);
    if (!message) return;
    if (message.type === "welcome") this.viewer = String(message["viewer"]);
    else if (message.type === "people") this.meet(message);
    else if (message.type === "pong") this.pong(Number(message["id"]));
    else if (message.type === "clipboard") this.onClipboard();
    else if (message.type === "download") this.onDownload(String(message["name"]), Number(message["size"]));
    else if (message.type === "refused") this.refusal.set(String(message["message"]));
    else this.onMedia(message);
  }

  private meet(message: Message): void {
    const viewers = Array.isArray(message["viewers"]) ? (message["viewers"] as Viewer[]) : [];
    const requests = Array.isArray(message["requests"]) ? (message["requests"] as string[]) : [];
    const holder = typeof message["holder"] === "string" ? message["holder"] : null;
    this.people.set({ viewers, holder, requests });
    this.drives.set(holder === this.viewer);
  }

  private pong(id: number): void {
    const at = this.pinged.get(id);
    if (at !== undefined) this.roundTrip.set(performance.now() - at);
    for (const key of this.pinged.keys()) if (key <= id) this.pinged.delete(key);
    this.reachedAt = 0;
  }
}

/** The session's socket closed before it was welcomed. */
export class SessionEnded extends Error {}

export const socketUrl = (path: string): string => `${location.origin.replace(/^http/, "ws")}/v1${path}`;
