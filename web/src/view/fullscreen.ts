import { useEffect, useState } from "preact/hooks";

// Not in the DOM types yet (WICG Keyboard Lock): in full screen, also Escape, Tab and Super go to the desktop.
interface KeyboardLock {
  keyboard?: { lock?: () => Promise<void>; unlock?: () => void };
}

export async function enterFullscreen(): Promise<void> {
  await document.documentElement.requestFullscreen({ navigationUI: "hide" });
  await (navigator as KeyboardLock).keyboard?.lock?.();
}

export async function leaveFullscreen(): Promise<void> {
  (navigator as KeyboardLock).keyboard?.unlock?.();
  await document.exitFullscreen();
}

export function useFullscreen(): boolean {
  const [full, setFull] = useState(document.fullscreenElement !== null);
  useEffect(() => {
    const onChange = (): void => setFull(document.fullscreenElement !== null);
    document.addEventListener("fullscreenchange", onChange);
    return () => document.removeEventListener("fullscreenchange", onChange);
  }, []);
  return full;
}
