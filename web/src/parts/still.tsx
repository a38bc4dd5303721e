import { useEffect, useRef, useState } from "preact/hooks";
import { type Client, part } from "../api/client";
import { Problem } from "../api/problem";

/** The address (blob:) of a desktop's latest picture, "" while there is none. It is read again every
 * `everyMs` (0: once) while `on` and the page is looked at, and the old one stays until the new one is
 * decoded. */
export function useStill(client: Client, id: string, everyMs: number, on: boolean): string {
  const [shown, setShown] = useState("");
  const kept = useRef("");
  useEffect(() => {
    if (!on) return;
    const stop = new AbortController();
    let timer = 0;
    const read = async (): Promise<void> => {
      if (!document.hidden) {
        const next = await decoded(client, id, stop.signal);
        if (stop.signal.aborted) return;
        if (next) {
          URL.revokeObjectURL(kept.current);
          kept.current = next;
          setShown(next);
        }
      }
      if (everyMs) timer = window.setTimeout(() => void read(), everyMs);
    };
    void read();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [client, id, everyMs, on]);
  useEffect(() => () => URL.revokeObjectURL(kept.current), []);
  return shown;
}

/** A picture ready to be painted; "" if there is none, or it cannot be had now. */
async function decoded(client: Client, id: string, signal: AbortSignal): Promise<string> {
  try {
    const blob = await client.picture(`/desktops/${part(id)}/still`, signal);
    if (!blob) return "";
    const image = new Image();
    image.src = URL.createObjectURL(blob);
    await image.decode();
    return image.src;
  } catch (error) {
    // Offline, an aborted reading, a torn picture: the old one stays, and the next turn comes.
    if (error instanceof Problem || error instanceof DOMException) return "";
    throw error;
  }
}

/** Whether the element is (nearly) in the window. */
export function useSeen<E extends Element>(): [{ current: E | null }, boolean] {
  const ref = useRef<E>(null);
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (!ref.current) return;
    const observer = new IntersectionObserver(
      (entries) => setSeen(entries.some((entry) => entry.isIntersecting)),
      { rootMargin: "100px" },
    );
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return [ref, seen];
}
