import { useCallback, useEffect, useState } from "preact/hooks";
import { moment } from "../amount";
import { type Client, part } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Mode, Page, Share } from "../api/types";
import { Button } from "../parts/button";
import { Choice, Field } from "../parts/field";
import { Notice } from "../parts/notice";
import { text } from "../text";

const words = text.view.shares;
const MODES = [
  ["view", text.view.shareView],
  ["control", text.view.shareControl],
] as const;
/** In seconds; 0 is until it is ended. */
const LASTING = [
  ["0", words.always],
  ["3600", words.hour],
  ["86400", words.day],
  ["604800", words.week],
] as const;

interface SharesProps {
  client: Client;
  desktop: string;
  /** Goes up when a link was made elsewhere. */
  made: number;
}

/** The users a desktop is shared with and the links that were given away, each to be ended; for who owns it. */
export function Shares({ client, desktop, made }: SharesProps) {
  const [shares, setShares] = useState<readonly Share[]>([]);
  const [problem, setProblem] = useState<Problem | null>(null);
  const path = `/desktops/${part(desktop)}/shares`;
  const attempt = useCallback(
    async (work: () => Promise<unknown>): Promise<boolean> => {
      try {
        await work();
        setShares((await client.get<Page<Share>>(path)).items);
        setProblem(null);
        return true;
      } catch (error) {
        setProblem(asProblem(error));
        return false;
      }
    },
    [client, path],
  );
  useEffect(() => void attempt(() => Promise.resolve()), [attempt, made]);
  return (
    <>
      <h3>{words.title}</h3>
      {shares.length === 0 && <p class="panel-help">{words.nobody}</p>}
      <ul class="people shares">
        {shares.map((share) => (
          <li key={share.id}>
            <span class="people-name">{share.kind === "user" ? share.user : words.link}</span>
            <span class="share-may">{describe(share)}</span>
            <Button kind="quiet" onClick={() => void attempt(() => client.delete(`${path}/${share.id}`))}>
              {words.end(share.kind === "user" ? share.user : "")}
            </Button>
          </li>
        ))}
      </ul>
      <AddShare
        problem={problem}
        onAdd={(user, mode, lasts) =>
          attempt(() => client.post(path, { user, mode, ...(lasts && { expires_in_s: lasts }) }))
        }
      />
    </>
  );
}

interface AddShareProps {
  problem: Problem | null;
  onAdd: (user: string, mode: Mode, seconds: number) => Promise<boolean>;
}

function AddShare({ problem, onAdd }: AddShareProps) {
  const [user, setUser] = useState("");
  const [mode, setMode] = useState<Mode>("view");
  const [lasts, setLasts] = useState("0");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (await onAdd(user.trim(), mode, Number(lasts))) setUser("");
  };
  return (
    <form onSubmit={(event) => void submit(event)} noValidate>
      <Field
        label={words.user}
        value={user}
        onValue={setUser}
        help={words.userHelp}
        fault={problem?.fault("user") || problem?.fault("mode") || ""}
        autocomplete="off"
        spellcheck={false}
      />
      <Choice label={text.view.shareMode} value={mode} options={MODES} onValue={(value) => setMode(value as Mode)} />
      <Choice label={words.lasts} value={lasts} options={LASTING} onValue={setLasts} />
      {problem && problem.faults.length === 0 && <Notice problem={problem} />}
      <Button type="submit" disabled={user.trim() === ""}>
        {words.add}
      </Button>
    </form>
  );
}

function describe(share: Share): string {
  const may = share.mode === "control" ? text.view.shareControl : text.view.shareView;
  return share.expires_at ? words.until(may, moment(share.expires_at)) : may;
}
