import { type Client, part } from "../api/client";
import { asProblem, Problem } from "../api/problem";
import { backOff } from "../back-off";
import { Cell } from "../cell";

/** One file on its way to the desktop. `sent`: 0 to 1. */
export interface Upload {
  id: string;
  name: string;
  sent: number;
  state: "going" | "waiting" | "done" | "failed";
  problem: Problem | null;
  cancel: () => void;
}

// So much is sent again at most when the connection breaks; each piece is synced in the desktop.
const PIECE = 16 << 20;
// What may be otherwise in a moment: no network, somebody else's turn, a desktop or a server that comes back.
const PASSING = new Set([0, 409, 429, 502, 503]);

/** Files on their way to the desktop, in pieces: after a break each goes on where it was. */
export class Uploads {
  readonly list = new Cell<readonly Upload[]>([]);

  constructor(private readonly client: Client) {}

  /** Send one to `path` (as the API takes it). Resolves when it is there, was given up, or cannot be. */
  async send(name: string, path: string, file: File): Promise<void> {
    const id = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const giving = new AbortController();
    const cancel = (): void => giving.abort();
    this.list.update((old) => [...old, { id, name, sent: 0, state: "going", problem: null, cancel }]);
    const where = `${path}&upload=${id}`;
    try {
      if (file.size === 0) await this.client.upload(path, file, { onProgress: () => {}, signal: giving.signal });
      else await this.pieces(id, where, file, giving.signal);
      this.note(id, { sent: 1, state: "done" });
    } catch (error) {
      if (!giving.signal.aborted) return this.note(id, { state: "failed", problem: asProblem(error) });
      this.list.update((old) => old.filter((one) => one.id !== id));
      await this.client.delete(where).catch(asProblem);
    }
  }

  private async pieces(id: string, where: string, file: File, signal: AbortSignal): Promise<void> {
    for (let offset = 0, failures = 0; offset < file.size; ) {
      const end = Math.min(file.size, offset + PIECE);
      const onProgress = (sent: number): void => this.note(id, { sent: (offset + sent) / file.size, state: "going" });
      try {
        await this.client.upload(where, file.slice(offset, end), { onProgress, signal, range: `bytes ${offset}-${end - 1}/${file.size}` });
        [offset, failures] = [end, 0];
      } catch (error) {
        if (signal.aborted || !PASSING.has(asProblem(error).status)) throw error;
        this.note(id, { state: "waiting" });
        await moment(backOff(failures++), signal);
        signal.throwIfAborted();
        offset = await this.come(where, offset);
      }
    }
  }

  /** How much has come, as far as that can be asked. */
  private async come(where: string, known: number): Promise<number> {
    try {
      return (await this.client.get<{ offset: number }>(where)).offset;
    } catch (error) {
      if (!PASSING.has(asProblem(error).status)) throw error;
      return known;
    }
  }

  private note(id: string, change: Partial<Upload>): void {
    this.list.update((old) => old.map((one) => (one.id === id ? { ...one, ...change } : one)));
  }
}

export const filesPath = (desktopId: string, path: string): string =>
  `/desktops/${part(desktopId)}/files?path=${part(path)}`;

/** After `ms`, or when the network comes back, or at once if it is given up. */
function moment(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    window.addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}
