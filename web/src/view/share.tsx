import { useState } from "preact/hooks";
import { clock } from "../amount";
import { type Client, part } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Desktop, Mode, Ticket } from "../api/types";
import { Button } from "../parts/button";
import { CopyButton } from "../parts/copy";
import { Choice, Field } from "../parts/field";
import { Notice } from "../parts/notice";
import { text } from "../text";
import { PeopleList } from "./driving";
import { Shares } from "./shares";
import type { Viewing } from "./viewing";

const TTL_S = 3600;

const VIEW = ["view", text.view.shareView] as const;
const CONTROL = ["control", text.view.shareControl] as const;

interface SharePanelProps {
  viewing: Viewing;
  client: Client;
  desktop: Desktop;
  /** What the one who shares may do: nobody gives more. */
  mode: Mode;
}

/** Makes a link that lets one other person in; who owns the desktop sees and ends what was given away. */
export function SharePanel({ client, desktop, viewing, mode: own }: SharePanelProps) {
  const [mode, setMode] = useState<Mode>("view");
  const [made, setMade] = useState<Ticket | null>(null);
  const [count, setCount] = useState(0);
  const [problem, setProblem] = useState<Problem | null>(null);
  const make = async (): Promise<void> => {
    try {
      setMade(await client.post<Ticket>(`/desktops/${part(desktop.id)}/tickets`, { mode, ttl_s: TTL_S }));
      setCount(count + 1);
      setProblem(null);
    } catch (error) {
      setProblem(asProblem(error));
    }
  };
  if (desktop.access === "view" || desktop.access === "control") {
    return (
      <section class="share">
        <PeopleList viewing={viewing} />
        <p class="panel-help">{text.view.shares.ownersOnly}</p>
      </section>
    );
  }
  return (
    <section class="share">
      <PeopleList viewing={viewing} />
      <p class="panel-help">{text.view.shareHelp}</p>
      <Choice
        label={text.view.shareMode}
        value={mode}
        options={own === "control" ? [VIEW, CONTROL] : [VIEW]}
        onValue={(value) => {
          setMode(value as Mode);
          setMade(null);
        }}
      />
      {problem && <Notice problem={problem} />}
      {made ? (
        <>
          <Field
            label={text.view.shareLink}
            value={new URL(made.viewer_url, location.origin).href}
            help={text.view.shareUntil(clock(made.expires_at))}
            readOnly
            onValue={() => {}}
          />
          <CopyButton value={new URL(made.viewer_url, location.origin).href} />
        </>
      ) : (
        <Button kind="primary" icon="share" onClick={() => void make()}>
          {text.view.shareMake}
        </Button>
      )}
      {desktop.access === "own" && <Shares client={client} desktop={desktop.id} made={count} />}
    </section>
  );
}
