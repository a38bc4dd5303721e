/** The size the desktop should have for this window (docs/internals.md: 320x240 to 3840x2160, even). */
export function wantedSize(width: number, height: number, ratio: number): { width: number; height: number } {
  const within = (value: number, least: number, most: number): number =>
    Math.max(least, Math.min(most, Math.floor((value * ratio) / 2) * 2));
  return { width: within(width, 320, 3840), height: within(height, 240, 2160) };
}
