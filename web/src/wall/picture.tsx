import { useState } from "preact/hooks";
import type { Desktop, State } from "../api/types";
import { useCell } from "../cell";
import { failureOf } from "../failure";
import { Button } from "../parts/button";
import { Steps } from "../parts/steps";
import { useSeen, useStill } from "../parts/still";
import { MOVING } from "../progress";
import { client, desktops, mayControl } from "../session";
import { desktopPath, followLink } from "../route";
import { text } from "../text";

const STILL_MS = 3000;
const STILL_UNDER_POINTER_MS = 1000;
const DIMMED: ReadonlySet<State> = new Set(["stopped", "stopping", "paused", "pausing", "resuming"]);

/** The upper part of a card: the live still, or what stands in its place. */
export function Picture({ desktop }: { desktop: Desktop }) {
  const { state } = desktop;
  if (state === "failed") return <Failed desktop={desktop} />;
  if (MOVING.has(state)) return <Starting desktop={desktop} />;
  return <Still desktop={desktop} />;
}

function Still({ desktop }: { desktop: Desktop }) {
  const [ref, seen] = useSeen<HTMLDivElement>();
  const [hovered, setHovered] = useState(false);
  const live = desktop.state === "running";
  const every = live ? (hovered ? STILL_UNDER_POINTER_MS : STILL_MS) : 0;
  const still = useStill(client, desktop.id, every, seen);
  return (
    <div
      class={DIMMED.has(desktop.state) || desktop.state === "deleting" ? "card-picture dimmed" : "card-picture"}
      ref={ref}
      onPointerEnter={() => setHovered(true)}
      onPointerLeave={() => setHovered(false)}
    >
      <a
        class="card-cover"
        href={desktopPath(desktop.name)}
        onClick={followLink}
        tabIndex={-1}
        aria-hidden="true"
      >
        {still && <img src={still} alt="" />}
        {!still && live && <span class="no-picture">{text.wall.noPicture}</span>}
      </a>
      {desktop.state === "stopped" && mayControl() && (
        <div class="card-offer">
          <Button kind="primary" icon="play" onClick={() => void desktops.boot(desktop)}>
            {text.verbs.start}
          </Button>
        </div>
      )}
    </div>
  );
}

function Starting({ desktop }: { desktop: Desktop }) {
  const progress = useCell(desktops.progress).get(desktop.id);
  return (
    <div class="card-picture starting">
      <Steps progress={progress} desktop={desktop} />
    </div>
  );
}

function Failed({ desktop }: { desktop: Desktop }) {
  const failure = failureOf(desktop);
  return (
    <div class="card-picture broken">
      <div class="failure">
        <p class="failure-what">{failure.message}</p>
        {failure.hint && <p class="failure-hint">{failure.hint}</p>}
        <div class="failure-do">
          {mayControl() && (
            <Button icon="again" onClick={() => void desktops.boot(desktop)}>
              {text.verbs.startAgain}
            </Button>
          )}
          {failure.console && (
            <details>
              <summary>{text.problem.console}</summary>
              <pre tabIndex={0}>{failure.console}</pre>
            </details>
          )}
        </div>
      </div>
    </div>
  );
}
