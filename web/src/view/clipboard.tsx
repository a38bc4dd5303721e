import { useEffect, useId, useState } from "preact/hooks";
import { asProblem, Problem } from "../api/problem";
import type { Mode } from "../api/types";
import { useCell } from "../cell";
import { text } from "../text";
import { CopyButton } from "../parts/copy";
import { Notice } from "../parts/notice";
import type { Viewing } from "./viewing";

/** The desktop's clipboard, both ways. */
export function ClipboardPanel({ viewing, mode }: { viewing: Viewing; mode: Mode }) {
  const id = useId();
  const remote = useCell(viewing.clipboard);
  const [problem, setProblem] = useState<Problem | null>(null);
  const drives = mode === "control";
  const write = (value: string): void => {
    setProblem(null);
    void viewing.write(value).catch((error: unknown) => setProblem(asProblem(error)));
  };
  return (
    <section class="clipboard">
      <label for={id}>{text.view.clipboardLabel}</label>
      <textarea
        id={id}
        rows={5}
        value={remote}
        readOnly={!drives}
        spellcheck={false}
        aria-describedby={`${id}-help`}
        onInput={(event) => write(event.currentTarget.value)}
      />
      <p class="panel-help" id={`${id}-help`}>
        {drives ? text.view.clipboardHelp : text.view.clipboardWatch}
      </p>
      {problem && <Notice problem={problem} />}
      <div class="panel-row">
        <CopyButton value={remote} />
        {drives && <InStep onText={write} />}
      </div>
    </section>
  );
}

/** Takes over this computer's clipboard once; the browser asks for leave. */
function InStep({ onText }: { onText: (value: string) => void }) {
  const [denied, setDenied] = useState(false);
  const read = async (): Promise<void> => {
    try {
      onText(await navigator.clipboard.readText());
      setDenied(false);
    } catch {
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
export function useClipboardInStep(viewing: Viewing | null, drives: boolean): void {
  useEffect(() => {
    if (!viewing) return;
    const toHere = viewing.clipboard.watch(() => {
      const value = viewing.clipboard.value;
      if (value && document.hasFocus()) void navigator.clipboard?.writeText(value).catch(refused);
    });
    const toThere = async (): Promise<void> => {
      if (!drives || !viewing.session.value?.drives.value || !(await mayRead())) return;
      const value = await navigator.clipboard.readText();
      if (value && value !== viewing.clipboard.value) {
        await viewing.write(value);
      }
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
