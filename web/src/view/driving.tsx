import { useEffect, useState } from "preact/hooks";
import { useCell } from "../cell";
import { Button } from "../parts/button";
import { Icon } from "../parts/icons";
import { text } from "../text";
import type { Session, Viewer } from "./session";
import type { Viewing } from "./viewing";

/** Who drives, by a coloured edge and a name, when that is somebody else; and whoever asks to. */
export function Driving({ viewing }: { viewing: Viewing }) {
  const session = useCell(viewing.session);
  return session && <Told key={session.viewer} session={session} viewing={viewing} />;
}

function Told({ session, viewing }: { session: Session; viewing: Viewing }) {
  const people = useCell(session.people);
  const blocked = useCell(viewing.blocked);
  const driver = people.viewers.find((viewer) => viewer.id === people.holder);
  const mine = driver?.id === session.viewer;
  const asking = mine ? people.viewers.filter((viewer) => people.requests.includes(viewer.id)) : [];
  return (
    <>
      {driver && !mine && (
        <>
          <div class={`edge ${driver.kind}`} aria-hidden="true" />
          <Other key={blocked} driver={driver} session={session} stressed={blocked > 0} />
        </>
      )}
      {asking.map((viewer) => (
        <Request key={viewer.id} viewer={viewer} session={session} />
      ))}
    </>
  );
}

interface OtherProps {
  driver: Viewer;
  session: Session;
  /** Somebody just tried to drive. */
  stressed: boolean;
}

function Other({ driver, session, stressed }: OtherProps) {
  const { requests } = useCell(session.people);
  const may = session.mode === "control";
  const asked = requests.includes(session.viewer);
  return (
    <div class={stressed ? "driver stressed" : "driver"} role="status">
      <Icon name={driver.kind === "agent" ? "box" : "person"} />
      <span>{driver.kind === "agent" ? text.view.agentDrives(driver.name) : text.view.drives(driver.name)}</span>
      {may && !asked && <Button onClick={() => session.say("take")}>{text.view.takeControl}</Button>}
      {may && asked && (
        <>
          <span class="panel-help">{text.view.asked}</span>
          <Button onClick={() => session.say("withdraw")}>{text.verbs.cancel}</Button>
        </>
      )}
    </div>
  );
}

function Request({ viewer, session }: { viewer: Viewer; session: Session }) {
  return (
    <div class="driver stressed" role="alert">
      <Icon name="person" />
      <span>{text.view.asksToDrive(viewer.name)}</span>
      <Button kind="primary" onClick={() => session.say("give", { to: viewer.id })}>
        {text.view.handOver}
      </Button>
      <Button onClick={() => session.say("decline", { to: viewer.id })}>{text.view.notNow}</Button>
    </div>
  );
}

/** Everyone who looks at the desktop; whoever drives may hand it to one of them. */
export function PeopleList({ viewing }: { viewing: Viewing }) {
  const session = useCell(viewing.session);
  return session && <List session={session} />;
}

function List({ session }: { session: Session }) {
  const { viewers, holder } = useCell(session.people);
  const mine = holder === session.viewer;
  return (
    <ul class="people" aria-label={text.view.people}>
      {viewers.map((viewer) => (
        <li key={viewer.id}>
          <Icon name={viewer.kind === "agent" ? "box" : viewer.mode === "view" ? "eye" : "person"} />
          <span class="people-name">
            {viewer.id === session.viewer ? text.view.you(viewer.name) : viewer.name}
          </span>
          {viewer.id === holder && <span class="badge">{text.view.atTheWheel}</span>}
          {mine && viewer.id !== session.viewer && viewer.mode === "control" && (
            <Button onClick={() => session.say("give", { to: viewer.id })}>{text.view.handOver}</Button>
          )}
          {mine && viewer.id === session.viewer && viewers.length > 1 && (
            <Button onClick={() => session.say("give", { to: null })}>{text.view.letGo}</Button>
          )}
        </li>
      ))}
    </ul>
  );
}

const TOLD_MS = 4000;

/** Who came and who left, for a moment. */
export function Comings({ viewing }: { viewing: Viewing }) {
  const session = useCell(viewing.session);
  const [said, setSaid] = useState("");
  useEffect(() => {
    if (!session) return;
    let known: ReadonlyMap<string, string> | null = null;
    let timer = 0;
    const look = (): void => {
      const now = new Map(session.people.value.viewers.map(({ id, name }) => [id, name]));
      const came = known && [...now].find(([id]) => !known?.has(id) && id !== session.viewer);
      const went = known && [...known].find(([id]) => !now.has(id));
      if (now.size) known = now;
      const words = came ? text.view.joined(came[1]) : went ? text.view.left(went[1]) : "";
      if (!words) return;
      setSaid(words);
      clearTimeout(timer);
      timer = window.setTimeout(() => setSaid(""), TOLD_MS);
    };
    look();
    const unwatch = session.people.watch(look);
    return () => {
      unwatch();
      clearTimeout(timer);
    };
  }, [session]);
  return (
    <p class="comings" role="status">
      {said}
    </p>
  );
}
