import type { ComponentChildren } from "preact";
import type { Problem } from "../api/problem";
import type { Desktop } from "../api/types";
import { useCell } from "../cell";
import type { Desktops } from "../desktops";
import { failureOf } from "../failure";
import { Button } from "../parts/button";
import { useNow } from "../parts/clock";
import { Notice } from "../parts/notice";
import { Steps } from "../parts/steps";
import { MOVING } from "../progress";
import { go } from "../route";
import { mayControl } from "../session";
import { text } from "../text";
import type { Phase, Viewing } from "./viewing";

interface CurtainProps {
  name: string;
  guest: boolean;
  source: Desktops;
  desktop?: Desktop;
  viewing?: Viewing;
  gone: boolean;
  problem: Problem | null;
  waking?: boolean;
  onWake?: () => void;
}

/** What lies over the screen while it is not live: what is going on, and what comes next. */
export function Curtain(props: CurtainProps) {
  const { desktop, gone, guest, name, problem, source, viewing } = props;
  const refusal = useCell(source.refusals).get(desktop?.id ?? "");
  const progress = useCell(source.progress).get(desktop?.id ?? "");
  if (problem) return <Sheet guest={guest}><Notice problem={problem} /></Sheet>;
  if (gone) {
    return (
      <Sheet guest={guest} title={desktop ? text.view.gone : text.problem.notFound(name)}>
        {!desktop && <p>{text.problem.notFoundHint}</p>}
      </Sheet>
    );
  }
  if (!desktop || !viewing) return <Line>{text.view.opening}</Line>;
  const { state } = desktop;
  if (state === "paused" && props.waking) return <Line>{text.view.waking}</Line>;
  if (state === "paused") {
    return (
      <Sheet guest={guest} title={desktop.isolation === "container" ? text.view.frozen : text.view.paused}>
        {refusal && <Notice problem={refusal} />}
        <Button kind="primary" icon="play" onClick={() => props.onWake?.()}>
          {text.view.wake}
        </Button>
      </Sheet>
    );
  }
  if (state === "running") return <Connection guest={guest} viewing={viewing} />;
  if (MOVING.has(state)) {
    return (
      <Sheet guest={guest} title={`${text.state[state]} ${desktop.name}`}>
        <Steps progress={progress} desktop={desktop} />
        <p class="sheet-help">{text.view.startingHelp}</p>
      </Sheet>
    );
  }
  if (state === "stopped" || state === "failed") {
    return (
      <Sheet guest={guest} title={state === "failed" ? text.view.failed : text.view.stopped}>
        {state === "failed" && <Failure desktop={desktop} />}
        {refusal && <Notice problem={refusal} />}
        {!guest && mayControl() && (
          <Button kind="primary" icon="play" onClick={() => void source.boot(desktop)}>
            {state === "failed" ? text.verbs.startAgain : text.verbs.start}
          </Button>
        )}
      </Sheet>
    );
  }
  return <Line>{state === "deleting" ? text.view.deleting : state === "stopping" ? text.view.stopping : text.state[state]}</Line>;
}

/** The line about a connection that does not stand. */
function Connection({ guest, viewing }: { guest: boolean; viewing: Viewing }) {
  const phase = useCell(viewing.phase);
  if (phase.at === "refused") {
    return (
      <Sheet guest={guest}>
        <Notice problem={phase.problem} />
        <Button icon="again" onClick={() => viewing.tryNow()}>
          {text.view.tryNow}
        </Button>
      </Sheet>
    );
  }
  if (phase.at === "paused") {
    return (
      <Sheet guest={guest} title={text.view.paused}>
        <Button kind="primary" icon="play" onClick={() => viewing.tryNow()}>
          {text.view.wake}
        </Button>
      </Sheet>
    );
  }
  if (phase.at === "lost") return <Lost phase={phase} onTry={() => viewing.tryNow()} />;
  return <Line>{text.view.connecting}</Line>;
}

function Lost({ phase, onTry }: { phase: Extract<Phase, { at: "lost" }>; onTry: () => void }) {
  const now = useNow(250);
  const { attempt, retryAt } = phase;
  const seconds = retryAt === null ? 0 : Math.max(0, Math.ceil((retryAt - now) / 1000));
  const said = !navigator.onLine
    ? text.view.offline
    : retryAt === null
      ? text.view.lostNow(attempt)
      : text.view.lostIn(seconds, attempt);
  return (
    <Line warning>
      {said}
      {retryAt !== null && <Button onClick={onTry}>{text.view.tryNow}</Button>}
    </Line>
  );
}

function Failure({ desktop }: { desktop: Desktop }) {
  const failure = failureOf(desktop);
  return (
    <>
      <p>{failure.message}</p>
      {failure.hint && <p class="sheet-help">{failure.hint}</p>}
      {failure.console && (
        <details>
          <summary>{text.problem.console}</summary>
          <pre tabIndex={0}>{failure.console}</pre>
        </details>
      )}
    </>
  );
}

function Line({ children, warning }: { children: ComponentChildren; warning?: boolean }) {
  return (
    <div class="curtain line" role="status">
      <p class={warning ? "view-line warning" : "view-line"}>{children}</p>
    </div>
  );
}

function Sheet({ guest, title, children }: { guest: boolean; title?: string; children?: ComponentChildren }) {
  return (
    <div class="curtain">
      <section class="sheet" aria-live="polite">
        {title && <h1>{title}</h1>}
        {children}
        {!guest && (
          <Button kind="quiet" icon="grid" onClick={() => go("/")}>
            {text.view.toWall}
          </Button>
        )}
      </section>
    </div>
  );
}
