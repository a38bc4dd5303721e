import { Cell } from "../cell";
import { keep } from "./keep";
import type { Screen } from "./screen";

// What browsers can record, the best first.
const KINDS = ["video/webm;codecs=vp9,opus", "video/webm;codecs=vp8,opus", "video/webm", "video/mp4"];
const PIECE_MS = 1000;

/** What is seen and heard, as a film in this browser's downloads. It ends with the screen it was begun on. */
export class Recording {
  /** When it began (ms); null while there is none. */
  readonly since = new Cell<number | null>(null);
  private recorder: MediaRecorder | null = null;

  constructor(private readonly name: string) {}

  static get possible(): boolean {
    return "MediaRecorder" in window;
  }

  begin(screen: Screen): void {
    const stream = screen.stream();
    const kind = KINDS.find((one) => MediaRecorder.isTypeSupported(one));
    if (this.recorder || !stream || !kind) return;
    const pieces: Blob[] = [];
    const recorder = new MediaRecorder(stream, { mimeType: kind });
    recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
    recorder.addEventListener("stop", () => {
      this.recorder = null;
      this.since.set(null);
      if (pieces.some((piece) => piece.size)) keep(new Blob(pieces, { type: kind }), this.name);
    });
    recorder.start(PIECE_MS);
    this.recorder = recorder;
    this.since.set(Date.now());
  }

  /** Saves what there is. */
  end(): void {
    if (this.recorder?.state === "recording") this.recorder.stop();
  }
}
