const ENDINGS: Record<string, string> = { "image/png": "png", "video/webm": "webm", "video/mp4": "mp4" };

/** Save something in this browser's downloads, under the desktop's name and the time. */
export function keep(what: Blob, name: string): void {
  const anchor = document.createElement("a");
  anchor.href = URL.createObjectURL(what);
  const at = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  anchor.download = `${name} ${at}.${ENDINGS[what.type.split(";")[0] ?? ""] ?? "bin"}`;
  anchor.click();
  // The download has its own reference by the next turn.
  setTimeout(() => URL.revokeObjectURL(anchor.href));
}
