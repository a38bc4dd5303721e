import { useEffect, useState } from "preact/hooks";
import { size } from "../amount";
import { part } from "../api/client";
import { asProblem, type Problem } from "../api/problem";
import type { Desktop, Egress } from "../api/types";
import { ExitBadge } from "../parts/badges";
import { Button } from "../parts/button";
import { Dialog } from "../parts/dialog";
import { Choice, Field } from "../parts/field";
import { Notice } from "../parts/notice";
import { client, desktops } from "../session";
import { text } from "../text";
import { useExits } from "./exits";

interface WayOutProps {
  desktop: Desktop;
  onClose: () => void;
}

/** Where a desktop goes out and what it may reach; changed while it runs. */
export function WayOut({ desktop, onClose }: WayOutProps) {
  const path = `/desktops/${part(desktop.id)}/egress`;
  const exits = useExits();
  const [now, setNow] = useState<Egress | null>(null);
  const [proxy, setProxy] = useState(desktop.proxy ?? "");
  const [allow, setAllow] = useState("");
  const [deny, setDeny] = useState("");
  const [problem, setProblem] = useState<Problem | null>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    client
      .get<Egress>(path)
      .then((told) => {
        setNow(told);
        setAllow(told.allow.join(" "));
        setDeny(told.deny.join(" "));
      })
      .catch((error: unknown) => setProblem(asProblem(error)));
  }, [path]);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await client.patch(path, { proxy, allow: words(allow), deny: words(deny) });
      await desktops.readAll();
      onClose();
    } catch (error) {
      setProblem(asProblem(error));
      setBusy(false);
    }
  };
  const fault = (field: string): string =>
    problem?.faults.find((one) => one.field.split(".")[0] === field)?.problem ?? "";
  const elsewhere = problem && !["proxy", "allow", "deny"].some(fault);
  return (
    <Dialog label={text.exit.title(desktop.name)} kind="way-out" onClose={onClose}>
      <form onSubmit={(event) => void submit(event)} noValidate>
        <h2>{text.exit.title(desktop.name)}</h2>
        <p class="way-out-facts">
          <ExitBadge proxy={desktop.proxy} exit={desktop.exit} />
          {now && text.exit.counted(size(now.bytes_in), size(now.bytes_out), now.open, now.denied)}
        </p>
        {desktop.exit?.was && <p class="way-out-warning">{text.exit.changed(desktop.exit.was, desktop.exit.ip)}</p>}
        {now?.upstream_ok === false && <p class="way-out-warning">{text.exit.broken}</p>}
        <Choice label={text.create.exit} value={proxy} options={exits} fault={fault("proxy")} onValue={setProxy} />
        <Field
          label={text.exit.allow}
          help={text.exit.allowHelp}
          value={allow}
          onValue={setAllow}
          fault={fault("allow")}
          spellcheck={false}
          autocomplete="off"
        />
        <Field
          label={text.exit.deny}
          help={text.exit.applyHelp}
          value={deny}
          onValue={setDeny}
          fault={fault("deny")}
          spellcheck={false}
          autocomplete="off"
        />
        {elsewhere && <Notice problem={problem} />}
        <div class="dialog-choices">
          <Button onClick={onClose}>{text.verbs.cancel}</Button>
          <Button kind="primary" type="submit" busy={busy || now === null}>
            {busy ? text.exit.applying : text.exit.apply}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

function words(list: string): string[] {
  return list.split(/[\s,]+/).filter(Boolean);
}
