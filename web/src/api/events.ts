import { backOff } from "../back-off";
import type { Client } from "./client";
import { Problem } from "./problem";
import { EventParser } from "./sse";
import type { OrielEvent } from "./types";

export interface Listener {
  /** The stream stands. What happened before it may have been missed: read everything again. */
  onOpen(): void;
  onEvent(event: OrielEvent): void;
  /** The stream broke; it is tried again by itself. */
  onLost(): void;
}

// The server sends a comment at least every 15 s; silence for longer means a dead connection.
const SILENCE_MS = 45_000;

/** Follows `path` until the returned function is called, through any number of broken connections. */
export function follow(client: Client, path: string, listener: Listener): () => void {
  const stop = new AbortController();
  void run(client, path, listener, stop.signal);
  return () => stop.abort();
}

async function run(client: Client, path: string, listener: Listener, stop: AbortSignal): Promise<void> {
  let lastId = "";
  for (let attempt = 0; !stop.aborted; attempt++) {
    try {
      await readOnce(client, path, lastId, stop, listener.onOpen, (event) => {
        attempt = 0;
        lastId = event.id || lastId;
        listener.onEvent(event);
      });
    } catch (error) {
      if (error instanceof Problem && [401, 403, 404].includes(error.status)) return;
    }
    if (stop.aborted) return;
    listener.onLost();
    await pause(backOff(attempt), stop);
  }
}

async function readOnce(
  client: Client,
  path: string,
  lastId: string,
  stop: AbortSignal,
  onOpen: () => void,
  onEvent: (event: OrielEvent) => void,
): Promise<void> {
  const silence = new AbortController();
  const either = AbortSignal.any([stop, silence.signal]);
  const response = await client.stream(path, lastId ? { "Last-Event-ID": lastId } : {}, either);
  if (!response.body) throw new Error("the event stream has no body");
  onOpen();
  const parser = new EventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let watchdog = 0;
  try {
    for (;;) {
      clearTimeout(watchdog);
      watchdog = window.setTimeout(() => silence.abort(), SILENCE_MS);
      const { done, value } = await reader.read();
      if (done) return;
      for (const message of parser.push(value)) onEvent(parse(message.id, message.data));
    }
  } finally {
    clearTimeout(watchdog);
  }
}

function parse(id: string, data: string): OrielEvent {
  const event = JSON.parse(data) as Partial<OrielEvent>;
  return {
    id,
    kind: event.kind ?? "",
    at: event.at ?? new Date().toISOString(),
    desktop: event.desktop ?? "",
    message: event.message ?? "",
    data: event.data ?? {},
  };
}

/** Resolves after `ms`, earlier when the network comes back, the page is looked at, or `stop`. */
export function pause(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      document.removeEventListener("visibilitychange", done);
      stop.removeEventListener("abort", done);
      resolve();
    };
    const timer = window.setTimeout(done, ms);
    window.addEventListener("online", done);
    document.addEventListener("visibilitychange", done);
    stop.addEventListener("abort", done);
  });
}
