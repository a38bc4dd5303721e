import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { asProblem, Problem } from "../api/problem";
import { Cell } from "../cell";
import type { NewDesktop } from "../desktops";
import { Button, IconButton } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { Choice, Field } from "../parts/field";
import { Notice } from "../parts/notice";
import { proposeName } from "../names";
import { desktopPath, go } from "../route";
import { desktops } from "../session";
import { text } from "../text";
import { type Options, useExits, useNames } from "../exit/exits";

interface Draft {
  name: string;
  runtime: string;
  image: string;
  vcpus: string;
  memory: string;
  disk: string;
  width: string;
  height: string;
  proxy: string;
  clipboard: string;
}

const FIELDS = ["name", "runtime", "image", "vcpus", "memory_mib", "disk_gib", "screen.width", "screen.height", "proxy", "clipboard"];
const TAKEN = "name_taken";
const MORE = new Set(FIELDS.slice(1));

function blank(): Draft {
  const taken = new Set(desktops.list.value?.map((desktop) => desktop.name));
  const name = proposeName(taken);
  return { name, runtime: "", image: "", vcpus: "", memory: "", disk: "", width: "", height: "", proxy: "", clipboard: "" };
}

/** Whether the form is open. */
export const creating = new Cell(false);

/** The form for a new desktop. A name is all it takes, and one is proposed. */
export function Create() {
  const onClose = (): void => creating.set(false);
  const [draft, setDraft] = useState(blank);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  const more = useRef<HTMLDetailsElement>(null);
  // One key per form: sending it twice, by a double click or after a broken answer, makes one desktop.
  const key = useMemo(() => crypto.randomUUID(), [draft]);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      const made = await desktops.create(wanted(draft), key);
      onClose();
      go(desktopPath(made.name));
    } catch (error) {
      const failed = asProblem(error);
      setProblem(failed);
      setBusy(false);
      if (more.current && failed.faults.some((fault) => MORE.has(fault.field))) more.current.open = true;
    }
  };
  const set = (field: keyof Draft) => (value: string) => setDraft({ ...draft, [field]: value });
  const elsewhere = problem && problem.code !== TAKEN && !problem.faults.some(({ field }) => FIELDS.includes(field));
  return (
    <Dialog label={text.create.title} kind="create" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <h2>{text.create.title}</h2>
        <NameField draft={draft} problem={problem} set={set} />
        <details class="more" ref={more}>
          <summary>{text.create.more}</summary>
          <More draft={draft} problem={problem} set={set} />
        </details>
        {elsewhere && <Notice problem={problem} />}
        <div class="dialog-choices">
          <Button onClick={onClose}>{text.verbs.cancel}</Button>
          <Button kind="primary" type="submit" busy={busy}>
            {busy ? text.create.working : text.create.submit}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

interface PartProps {
  draft: Draft;
  problem: Problem | null;
  set: (field: keyof Draft) => (value: string) => void;
}

function NameField({ draft, problem, set }: PartProps) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => ref.current?.querySelector("input")?.select(), []);
  return (
    <div ref={ref}>
      <Field
        label={text.create.name}
        help={text.create.nameHelp}
        fault={problem?.code === TAKEN ? problem.message : (problem?.fault("name") ?? "")}
        value={draft.name}
        onValue={set("name")}
        autocomplete="off"
        spellcheck={false}
        maxLength={63}
        required
        autofocus
        after={<IconButton icon="again" label={text.create.another} onClick={() => set("name")(blank().name)} />}
      />
    </div>
  );
}

function More({ draft, problem, set }: PartProps) {
  const images = useNames("/images", "id");
  const fault = (field: string): string => problem?.fault(field) ?? "";
  const number = (label: string, field: keyof Draft, wire: string, width: string) => (
    <div class={width}>
      <Field
        label={label}
        fault={fault(wire)}
        value={draft[field]}
        placeholder={text.create.unchanged}
        inputMode="numeric"
        onValue={set(field)}
      />
    </div>
  );
  const choice = (label: string, field: keyof Draft, options: Options, width: string) => (
    <div class={width}>
      <Choice label={label} value={draft[field]} options={options} fault={fault(field)} onValue={set(field)} />
    </div>
  );
  const exits: Options = [["", text.create.byOperator], ...useExits()];
  return (
    <div class="more-fields">
      {choice(text.create.exit, "proxy", exits, "whole")}
      {choice(text.create.clipboard, "clipboard", [["", text.create.byOperator], ...Object.entries(text.view.clipboardWays)], "whole")}
      {choice(text.create.runtime, "runtime", Object.entries(text.create.runtimes), "half")}
      {choice(text.create.image, "image", [["", text.create.defaultImage], ...images.map(same)], "half")}
      {number(text.create.vcpus, "vcpus", "vcpus", "third")}
      {number(text.create.memory, "memory", "memory_mib", "third")}
      {number(text.create.disk, "disk", "disk_gib", "third")}
      {number(text.create.width, "width", "screen.width", "half")}
      {number(text.create.height, "height", "screen.height", "half")}
    </div>
  );
}

const same = (value: string): readonly [string, string] => [value, value];

/** The request: what was left empty is left to the server. */
function wanted(draft: Draft): NewDesktop {
  const request: NewDesktop = { name: draft.name.trim() };
  if (draft.runtime) request.runtime = draft.runtime;
  if (draft.image) request.image = draft.image;
  if (draft.proxy) request.proxy = draft.proxy;
  if (draft.clipboard) request.clipboard = draft.clipboard;
  if (draft.vcpus) request.vcpus = numeral(draft.vcpus);
  if (draft.memory) request.memory_mib = numeral(draft.memory);
  if (draft.disk) request.disk_gib = numeral(draft.disk);
  if (draft.width || draft.height) {
    request.screen = { width: numeral(draft.width || "1280"), height: numeral(draft.height || "720") };
  }
  return request;
}

/** A number, or the text as it is: the server says what is wrong with it, together with all other faults. */
function numeral(value: string): number {
  const parsed = Number(value);
  return Number.isFinite(parsed) ? parsed : (value as unknown as number);
}
