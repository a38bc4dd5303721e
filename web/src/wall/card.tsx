import { useState } from "preact/hooks";
import { age, duration, moment } from "../amount";
import type { Desktop } from "../api/types";
import { useCell } from "../cell";
import { ExitBadge, IsolationBadge, StateMark } from "../parts/badges";
import { Button } from "../parts/button";
import { useNow } from "../parts/clock";
import { Menu, MenuItem } from "../parts/menu";
import { Notice } from "../parts/notice";
import { desktopPath, followLink } from "../route";
import { desktops, mayControl, who } from "../session";
import { text } from "../text";
import { Picture } from "./picture";
import { WayOutDialog } from "./way-out";

/** One desktop on the wall. */
export function Card({ desktop }: { desktop: Desktop }) {
  const [removing, setRemoving] = useState(false);
  const [leading, setLeading] = useState(false);
  const problem = useCell(desktops.refusals).get(desktop.id);
  return (
    <li class={`card ${desktop.state}`} data-desktop={desktop.name}>
      <Picture desktop={desktop} />
      <div class="card-foot">
        <div class="card-line">
          <a class="card-open" href={desktopPath(desktop.name)} onClick={followLink}>
            {desktop.name}
          </a>
          <StateMark desktop={desktop} />
          <CardMenu desktop={desktop} onRemove={() => setRemoving(true)} onWayOut={() => setLeading(true)} />
        </div>
        <Facts desktop={desktop} />
        {problem && <Notice problem={problem} />}
      </div>
      {leading && <WayOutDialog desktop={desktop} onClose={() => setLeading(false)} />}
      {removing && (
        <Removal
          desktop={desktop}
          onKeep={() => setRemoving(false)}
          onRemove={() => {
            setRemoving(false);
            void desktops.remove(desktop);
          }}
        />
      )}
    </li>
  );
}

function Facts({ desktop }: { desktop: Desktop }) {
  const now = useNow(10_000);
  const total = desktop.timings["total"];
  const viewer = who.value;
  const mine = viewer.kind === "person" && viewer.session.user === desktop.owner;
  return (
    <p class="card-facts">
      <ExitBadge proxy={desktop.proxy} exit={desktop.exit} />
      <IsolationBadge isolation={desktop.isolation} />
      {!mine && <span class="fact">{desktop.owner}</span>}
      <time
        class="fact"
        dateTime={desktop.created_at}
        title={[text.wall.created(moment(desktop.created_at)), total && text.wall.readyIn(duration(total))]
          .filter(Boolean)
          .join(", ")}
      >
        {age(desktop.created_at, now)}
      </time>
    </p>
  );
}

interface CardMenuProps {
  desktop: Desktop;
  onRemove: () => void;
  onWayOut: () => void;
}

function CardMenu({ desktop, onRemove, onWayOut }: CardMenuProps) {
  const { state } = desktop;
  if (state === "deleting" || !mayControl()) return null;
  return (
    <Menu label={text.wall.actions(desktop.name)} icon="dots">
      {(close) => {
        const item = (action: () => void) => () => {
          close();
          action();
        };
        return (
          <>
            {(state === "stopped" || state === "failed") && (
              <MenuItem icon="play" onClick={item(() => void desktops.boot(desktop))}>
                {text.verbs.start}
              </MenuItem>
            )}
            {state === "running" && (
              <MenuItem icon="pause" onClick={item(() => void desktops.pause(desktop))}>
                {desktop.isolation === "container" ? text.verbs.freeze : text.verbs.pause}
              </MenuItem>
            )}
            {state === "paused" && (
              <MenuItem icon="play" onClick={item(() => void desktops.resume(desktop))}>
                {text.verbs.resume}
              </MenuItem>
            )}
            {(state === "running" || state === "starting" || state === "paused") && (
              <MenuItem icon="stop" onClick={item(() => void desktops.shutDown(desktop))}>
                {text.verbs.stop}
              </MenuItem>
            )}
            <MenuItem icon="globe" onClick={item(onWayOut)}>
              {text.exit.change}
            </MenuItem>
            <MenuItem icon="trash" danger onClick={item(onRemove)}>
              {text.verbs.delete}
            </MenuItem>
          </>
        );
      }}
    </Menu>
  );
}

interface RemovalProps {
  desktop: Desktop;
  onKeep: () => void;
  onRemove: () => void;
}

/** The question, in the place of the thing it is about. */
function Removal({ desktop, onKeep, onRemove }: RemovalProps) {
  return (
    <div
      class="removal"
      role="alertdialog"
      aria-label={text.remove.question(desktop.name)}
      onKeyDown={(event) => event.key === "Escape" && onKeep()}
    >
      <p class="removal-question">{text.remove.question(desktop.name)}</p>
      <p>{text.remove.consequence}</p>
      <div class="removal-choices">
        <Button kind="danger" icon="trash" onClick={onRemove}>
          {text.remove.confirm}
        </Button>
        <Button focused onClick={onKeep}>
          {text.remove.keep}
        </Button>
      </div>
    </div>
  );
}
