import { useEffect, useMemo, useState } from "preact/hooks";
import type { Mode } from "../api/types";
import { useCell } from "../cell";
import { Button } from "../parts/button";
import type { IconName } from "../parts/icons";
import { text } from "../text";
import { Recording } from "./recording";
import type { Viewing } from "./viewing";

export type Panel = "voice" | "keys" | "clipboard" | "files" | "size" | "connection" | "exit" | "share" | "stop";

/** One button of the bar. */
export interface Tool {
  id: string;
  icon: IconName;
  label: string;
  /** The letter of its shortcut. */
  letter: string;
  act: () => void;
  panel?: Panel;
  /** For what is either on or off. */
  pressed?: boolean;
}

/** Hearing the desktop and speaking into it, where the rung carries sound. */
export function useSounding(viewing: Viewing, live: boolean, mode: Mode, ask: () => void): Tool[] {
  const muted = useCell(viewing.muted);
  const speaking = useCell(viewing.voice) !== null;
  const screen = useCell(viewing.screen);
  const words = text.view;
  if (!live || screen?.rung !== "webrtc") return [];
  const mute = (): void => viewing.mute(!muted);
  const icon = muted ? "silent" : "sound";
  const tools: Tool[] = [{ id: "sound", icon, label: words.sound, letter: "A", act: mute, pressed: !muted }];
  if (mode === "control") {
    const act = speaking ? () => viewing.hush() : ask;
    tools.push({ id: "voice", icon: "voice", label: words.voice, letter: "V", act, pressed: speaking, panel: "voice" });
  }
  return tools;
}

/** Asked for in words of our own before the browser asks in its. */
export function VoicePanel({ viewing }: { viewing: Viewing }) {
  const speaking = useCell(viewing.voice) !== null;
  const [denied, setDenied] = useState(false);
  const speak = (): void => void viewing.speak().catch((error: unknown) => {
    if (!(error instanceof DOMException)) throw error;
    setDenied(true);
  });
  return (
    <section>
      <p class="panel-help">{speaking ? text.view.voiceOn : text.view.voiceHelp}</p>
      {denied && <p class="field-fault" role="alert">{text.view.voiceDenied}</p>}
      <Button icon="voice" onClick={speaking ? () => viewing.hush() : speak}>
        {speaking ? text.view.voiceEnd : text.view.voiceAllow}
      </Button>
    </section>
  );
}

/** For programs that look only at how the pointer moves; not for fingers, which have no such thing. */
export function useLocking(viewing: Viewing, live: boolean, mode: Mode, then: () => void): Tool[] {
  const screen = useCell(viewing.screen);
  const fine = useMemo(() => matchMedia("(pointer: fine)").matches, []);
  if (!live || !fine || mode !== "control" || screen?.rung !== "webrtc") return [];
  const act = (): void => {
    screen.focus();
    then();
    // Soon after it was left with Esc a browser does not let a page have it again.
    void screen.lock()?.catch((error: unknown) => {
      if (!(error instanceof DOMException)) throw error;
    });
  };
  return [{ id: "lock", icon: "lock", label: text.view.lock, letter: "G", act }];
}

/** A film of the screen that is shown. */
export function useRecording(viewing: Viewing, name: string): Tool[] {
  const recording = useMemo(() => new Recording(name), [name]);
  const on = useCell(recording.since) !== null;
  const screen = useCell(viewing.screen);
  // A film is of one screen: with another way it is finished and saved, and so when the page goes.
  useEffect(() => () => recording.end(), [recording, screen]);
  if (!screen || !Recording.possible) return [];
  const act = (): void => (on ? recording.end() : recording.begin(screen));
  return [{ id: "record", icon: "record", label: on ? text.view.recordEnd : text.view.record, letter: "R", act, pressed: on }];
}
