import { useEffect, useId, useMemo, useState } from "preact/hooks";
import { asProblem, Problem } from "../api/problem";
import type { ClipboardWay, Desktop, Mode } from "../api/types";
import { useCell } from "../cell";
import type { Desktops } from "../desktops";
import { CopyButton } from "../parts/copy";
import { Choice } from "../parts/field";
import { Notice } from "../parts/notice";
import { text } from "../text";
import { type Clip, NO_CLIP, readHere, sameClip, writeHere } from "./clip";
import type { Viewing } from "./viewing";

const WAYS = Object.entries(text.view.clipboardWays);
const takes = (way: ClipboardWay): boolean => way === "in" || way === "both";
const gives = (way: ClipboardWay): boolean => way === "out" || way === "both";

interface ClipboardPanelProps {
  viewing: Viewing;
  desktop: Desktop;
  source: Desktops;
  mode: Mode;
}

/** The desktop's clipboard, as far as its rule lets it go; whoever owns the desktop decides that. */
export function ClipboardPanel({ viewing, desktop, source, mode }: ClipboardPanelProps) {
  const id = useId();
  const clip = useCell(viewing.clipboard);
  const [problem, setProblem] = useState<Problem | null>(null);
  const way = desktop.clipboard;
  const drives = mode === "control" && takes(way);
  const attempt = (work: Promise<unknown>): void => {
    setProblem(null);
    void work.catch((error: unknown) => setProblem(asProblem(error)));
  };
  const write = (found: Clip): void => attempt(viewing.write(found));
  return (
    <section class="clipboard">
      <label for={id}>{text.view.clipboardLabel}</label>
      <textarea
        id={id}
        rows={5}
        value={clip.text}
        readOnly={!drives}
        spellcheck={false}
        aria-describedby={`${id}-help`}
        onInput={(event) => write({ ...NO_CLIP, text: event.currentTarget.value })}
      />
      {clip.image && <Picture image={clip.image} />}
      <p class="panel-help" id={`${id}-help`}>
        {helpOf(clip, way, mode)}
      </p>
      {problem && <Notice problem={problem} />}
      <div class="panel-row">
        <CopyButton value={clip.text} write={() => writeHere(clip)} />
        {drives && <InStep onClip={write} />}
      </div>
      {desktop.access === "own" && (
        <Choice
          label={text.view.clipboardWay}
          value={way}
          options={WAYS as [string, string][]}
          onValue={(value) => attempt(source.change(desktop, { clipboard: value as ClipboardWay }))}
        />
      )}
    </section>
  );
}

function helpOf(clip: Clip, way: ClipboardWay, mode: Mode): string {
  const words = text.view;
  const said = [mode === "view" ? words.clipboardWatch : ""];
  if (!takes(way)) said.push(words.clipboardNoIn);
  if (!gives(way)) said.push(words.clipboardNoOut);
  if (mode === "control" && way === "both") said.push(words.clipboardHelp);
  if (clip.tooLarge.length) said.push(words.clipboardTooLarge);
  if (clip.html) said.push(words.clipboardFormatted);
  return said.filter(Boolean).join(" ");
}

/** Only ever as a picture: the server has looked at it. */
function Picture({ image }: { image: Blob }) {
  const address = useMemo(() => URL.createObjectURL(image), [image]);
  useEffect(() => () => URL.revokeObjectURL(address), [address]);
  return <img class="clip-image" src={address} alt={text.view.clipboardPicture} />;
}

/** Takes over this computer's clipboard once; the browser asks for leave. */
function InStep({ onClip }: { onClip: (clip: Clip) => void }) {
  const [denied, setDenied] = useState(false);
  const read = async (): Promise<void> => {
    try {
      const clip = await readHere();
      if (clip) onClip(clip);
      setDenied(false);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      setDenied(true);
    }
  };
  return (
    <>
      <button type="button" class="button" onClick={() => void read()}>
        {text.view.clipboardTake}
      </button>
      {denied && (
        <p class="field-fault" role="alert">
          {text.view.clipboardDenied}
        </p>
      )}
    </>
  );
}

/** Where the browser has given leave, both clipboards are kept in step without being asked. */
export function useClipboardInStep(viewing: Viewing | null, mode: Mode, way: ClipboardWay): void {
  const drives = mode === "control" && takes(way);
  useEffect(() => {
    if (!viewing) return;
    const toHere = viewing.clipboard.watch(() => {
      const clip = viewing.clipboard.value;
      if (clip !== viewing.given && (clip.text || clip.html || clip.image) && document.hasFocus()) void writeHere(clip).catch(refused);
    });
    const toThere = async (): Promise<void> => {
      if (!drives || !viewing.session.value?.drives.value || !(await mayRead())) return;
      const clip = await readHere();
      if (clip && !sameClip(clip, viewing.clipboard.value)) await viewing.write(clip);
    };
    const onFocus = (): void => void toThere().catch(refused);
    window.addEventListener("focus", onFocus);
    return () => {
      toHere();
      window.removeEventListener("focus", onFocus);
    };
  }, [viewing, drives]);
}

/** Whether the clipboard can be read without a question popping up. */
async function mayRead(): Promise<boolean> {
  const name = "clipboard-read" as PermissionName;
  const status = await navigator.permissions?.query({ name }).catch(() => null);
  return status?.state === "granted";
}

/** A browser may refuse at any moment; the panel is there for that. */
function refused(error: unknown): void {
  if (!(error instanceof DOMException || error instanceof Problem)) throw error;
}
