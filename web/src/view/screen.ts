import type RFB from "@novnc/novnc";
import type { Figures } from "./figures";

/** A desktop's screen, on whatever rung. */
export interface Screen {
  readonly rung: "webrtc" | "vnc";
  /** Whether what is done here goes to the desktop. */
  drives: boolean;
  /** Whether the picture is scaled to the window, or shown pixel by pixel. */
  fitted: boolean;
  focus(): void;
  /** Press and release keys: all down in order, then up in reverse. */
  press(chord: readonly Key[]): void;
  hold(key: Key, down: boolean): void;
  /** Type a text, whatever keys the desktop has for it. */
  type(text: string): void;
  /** Whether what the desktop plays is not to be heard here. */
  muted: boolean;
  /** From now on this is the desktop's microphone, null: nothing; false if this rung carries no sound. */
  speak(voice: MediaStreamTrack | null): boolean;
  /** What is seen and heard, for as long as this screen lasts; null before the first picture. */
  stream(): MediaStream | null;
  /** Lock the pointer to the desktop until Esc; null if this rung cannot. Rejects if the browser will not. */
  lock(): Promise<void> | null;
  picture(): Promise<Blob | null>;
  /** A copy of what is seen now, null before the first picture. */
  frame(): HTMLCanvasElement | null;
  figures(): Promise<Figures>;
  /** Resolves when the desktop has taken what was typed here, as far as that is known: before another screen is used. */
  settle(): Promise<void>;
  /** Another screen was used until now: nothing overtakes what was typed there. */
  takeOver(): void;
  close(): void;
}

export interface ScreenEvents {
  /** The first real picture is painted, or the screen is back after it had stalled. */
  onPicture(): void;
  /** Nothing comes any more. It may come back by itself; whatever is shown meanwhile is another's. */
  onStall(): void;
  /** The desktop's clipboard has changed; the API tells what is on it. */
  onClipboard(): void;
  /** Something is pasted here: it is brought to the desktop first. null: nothing is to be brought. */
  onPaste(data: DataTransfer): Promise<void> | null;
  /** The connection has ended, by whatever cause; `last` is a copy of what was on the screen. */
  onEnd(last: HTMLCanvasElement | null): void;
}

export interface Key {
  keysym: number;
  code: string | null;
}

/** The viewer is a part of its own, so that the wall does not wait for it. */
export const loadViewer = (): Promise<typeof RFB> => import("@novnc/novnc").then((module) => module.default);

/** The X keysym of a character (X11 protocol, appendix A: Latin-1 as it is, the rest with a flag). */
export function keysymOf(character: string): number {
  const point = character.codePointAt(0) ?? 0;
  const latin1 = (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff);
  return latin1 ? point : 0x01000000 + point;
}

export function copyOf(canvas: HTMLCanvasElement): HTMLCanvasElement {
  const copy = document.createElement("canvas");
  copy.width = canvas.width;
  copy.height = canvas.height;
  copy.getContext("2d")?.drawImage(canvas, 0, 0);
  return copy;
}
