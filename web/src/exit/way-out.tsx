import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { type Client, part } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Desktop, Egress } from "../api/types";
import { ExitBadge } from "../parts/badges";
import { Button } from "../parts/button";
import { Choice, Field } from "../parts/field";
import { Notice } from "../parts/notice";
import { mayAdminister } from "../session";
import { text } from "../text";
import { AccessLog } from "./access";
import { useExits } from "./exits";
import { changesOf, type Limits, LimitFields, limitsOf } from "./limits";
import { Usage } from "./usage";

const REFRESH_MS = 3000;
const PLACED = ["proxy", "allow", "deny", "max_connections", "connections_per_second", "bytes_per_second", "byte_quota"];

interface WayOutProps {
  title: string;
  desktop: Desktop;
  client: Client;
  /** The way out was changed. */
  onChanged: () => void;
  /** Beside the button that applies. */
  children?: ComponentChildren;
}

/** Where a desktop goes out, what went there, and what it may; changed while it runs. */
export function WayOut({ title, desktop, client, onChanged, children }: WayOutProps) {
  const path = `/desktops/${part(desktop.id)}/egress`;
  const exits = useExits();
  const [now, read] = useEgress(client, path);
  const [proxy, setProxy] = useState(desktop.proxy ?? "");
  const [lists, setLists] = useState<{ allow?: string; deny?: string }>({}); // also what is typed before all is read
  const [limits, setLimits] = useState<Limits | null>(null);
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    if (now.problem) setProblem(now.problem);
    if (!now.told || limits) return; // what is being typed is not written over
    const told = { allow: now.told.allow.join(" "), deny: now.told.deny.join(" ") };
    setLists((typed) => ({ ...told, ...typed }));
    setLimits(limitsOf(now.told));
  }, [now]);
  const change = async (wanted: object, after: () => void): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      await client.patch(path, wanted);
      after();
    } catch (error) {
      setProblem(asProblem(error));
    }
    setBusy(false);
  };
  const apply = (event: Event): void => {
    event.preventDefault();
    if (!now.told || !limits) return;
    const rules = { allow: words(lists.allow ?? ""), deny: words(lists.deny ?? "") };
    void change({ proxy, ...rules, ...changesOf(limits, now.told) }, onChanged);
  };
  const held = mayAdminister() ? [] : (now.told?.held ?? []);
  const fault = (field: string): string =>
    problem?.faults.find((one) => one.field.split(".")[0] === field)?.problem ?? "";
  return (
    <form class="way-out" onSubmit={apply} noValidate>
      <h2>{title}</h2>
      <ExitBadge proxy={desktop.proxy} exit={desktop.exit} />
      {desktop.exit?.was && <p class="way-out-warning">{text.exit.changed(desktop.exit.was, desktop.exit.ip)}</p>}
      {now.told?.upstream_ok === false && <p class="way-out-warning">{text.exit.broken}</p>}
      {now.told && (
        <Usage
          told={now.told}
          busy={busy}
          onReset={held.includes("byte_quota") ? null : () => void change({ reset_quota: true }, read)}
        />
      )}
      {now.told?.access_log && <AccessLog client={client} path={path} />}
      <Choice label={text.create.exit} value={proxy} options={exits} fault={fault("proxy")} onValue={setProxy} />
      {(["allow", "deny"] as const).map((list) => (
        <Field
          key={list}
          label={text.exit[list]}
          help={list === "allow" ? text.exit.allowHelp : ""}
          value={lists[list] ?? ""}
          onValue={(value) => setLists({ ...lists, [list]: value })}
          fault={fault(list)}
          spellcheck={false}
          autocomplete="off"
        />
      ))}
      {limits && <LimitFields limits={limits} held={held} onLimits={setLimits} fault={fault} />}
      {problem && !PLACED.some(fault) && <Notice problem={problem} />}
      <p class="field-help">{text.exit.applyHelp}</p>
      <div class="dialog-choices">
        {children}
        <Button kind="primary" type="submit" busy={busy || !limits}>
          {busy ? text.exit.applying : text.exit.apply}
        </Button>
      </div>
    </form>
  );
}

interface Read {
  told: Egress | null;
  problem: Problem | null;
}

/** What the API tells now and every few seconds; and a way to ask at once. */
function useEgress(client: Client, path: string): [Read, () => void] {
  const [now, setNow] = useState<Read>({ told: null, problem: null });
  const read = (): void => {
    client
      .get<Egress>(path)
      .then((told) => setNow({ told, problem: null }))
      .catch((error: unknown) => setNow((before) => ({ ...before, problem: asProblem(error) })));
  };
  useEffect(() => {
    read();
    const timer = window.setInterval(read, REFRESH_MS);
    return () => clearInterval(timer);
  }, [path]);
  return [now, read];
}

function words(list: string): string[] {
  return list.split(/[\s,]+/).filter(Boolean);
}
