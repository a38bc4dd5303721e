import { useEffect } from "preact/hooks";
import { type Client, part } from "../api/client";
import { asProblem, Problem } from "../api/problem";
import { useCell } from "../cell";
import type { Viewing } from "./viewing";
import { wantedSize } from "./wanted-size";

/** `fit`: scaled to the window. `actual`: pixel by pixel. `follow`: the desktop becomes as large as the window;
 * `sharp`: as large as the window's own pixels. */
export type Size = "fit" | "actual" | "follow" | "sharp";

const KEY = "oriel.size";
const SETTLED_MS = 300;

export function keptSize(): Size {
  const kept = localStorage.getItem(KEY);
  return kept === "actual" || kept === "follow" || kept === "sharp" ? kept : "fit";
}

export const keepSize = (size: Size): void => localStorage.setItem(KEY, size);

/** Has the desktop follow the window, while this viewer drives. */
export function useFollow(client: Client, desktopId: string, viewing: Viewing, size: Size): void {
  const session = useCell(viewing.session);
  const live = useCell(viewing.phase).at === "live";
  useEffect(() => {
    if (!session || !live || (size !== "follow" && size !== "sharp")) return;
    let timer = 0;
    let set = "";
    const ask = async (): Promise<void> => {
      const wanted = wantedSize(innerWidth, innerHeight, size === "sharp" ? devicePixelRatio : 1);
      const key = JSON.stringify(wanted);
      if (!session.drives.value || key === set) return;
      try {
        await client.put(`/desktops/${part(desktopId)}/computer/screen`, { ...wanted, viewer: session.viewer });
        set = key;
      } catch (error) {
        // Somebody else drives by now, or the desktop is going: whoever drives next asks again.
        if (!(asProblem(error) instanceof Problem)) throw error;
      }
    };
    const soon = (): void => {
      clearTimeout(timer);
      timer = window.setTimeout(() => void ask(), SETTLED_MS);
    };
    soon();
    window.addEventListener("resize", soon);
    const unwatch = session.drives.watch(soon);
    return () => {
      clearTimeout(timer);
      window.removeEventListener("resize", soon);
      unwatch();
    };
  }, [client, desktopId, session, live, size]);
}
